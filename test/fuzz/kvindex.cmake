weir_fuzz(fuzz_kvi_json SOURCES test/fuzz/fuzz_kvi_json.c LINK weir_kvindex CORPUS test/fuzz/corpus/kvi_json STRUCTURED)
weir_fuzz(fuzz_kvi_events SOURCES test/fuzz/fuzz_kvi_events.c LINK weir_kvindex CORPUS test/fuzz/corpus/kvi_events)
