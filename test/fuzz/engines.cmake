weir_fuzz(fuzz_engine_event SOURCES test/fuzz/fuzz_engine_event.c CORPUS test/fuzz/corpus/engine_event
          LINK weir_router STRUCTURED)
weir_fuzz(fuzz_relay_body SOURCES test/fuzz/fuzz_relay_body.c CORPUS test/fuzz/corpus/relay_body LINK weir_frontend STRUCTURED)
weir_fuzz(fuzz_engine_answers SOURCES test/fuzz/fuzz_engine_answers.c CORPUS test/fuzz/corpus/engine_answers
          LINK weir_runtime STRUCTURED)
