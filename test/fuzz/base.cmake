weir_fuzz(fuzz_json SOURCES test/fuzz/fuzz_json.c CORPUS test/fuzz/corpus/json LINK weir_base STRUCTURED)
weir_fuzz(fuzz_msgpack SOURCES test/fuzz/fuzz_msgpack.c CORPUS test/fuzz/corpus/msgpack LINK weir_base STRUCTURED)
