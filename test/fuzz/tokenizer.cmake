weir_fuzz(fuzz_tokenizer_json SOURCES test/fuzz/fuzz_tokenizer_json.c
          CORPUS test/fuzz/corpus/tokenizer_json LINK weir_tokenizer STRUCTURED)
weir_fuzz(fuzz_token_stream SOURCES test/fuzz/fuzz_token_stream.c
          CORPUS test/fuzz/corpus/token_stream LINK weir_tokenizer)
