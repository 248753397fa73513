weir_test(unit_wtok_stream SOURCES test/unit/tokenizer/stream.c LINK weir_tokenizer)
weir_test(unit_wtok_stop SOURCES test/unit/tokenizer/stop.c LINK weir_tokenizer)
weir_test(unit_wtok_chat SOURCES test/unit/tokenizer/chat.c LINK weir_tokenizer)
