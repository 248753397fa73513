weir_fuzz(fuzz_jinja SOURCES test/fuzz/fuzz_jinja.c CORPUS test/fuzz/corpus/jinja LINK weir_tokenizer)
weir_fuzz(fuzz_chat SOURCES test/fuzz/fuzz_chat.c CORPUS test/fuzz/corpus/chat LINK weir_tokenizer STRUCTURED)
