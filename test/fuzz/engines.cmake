weir_fuzz(fuzz_engine_event SOURCES test/fuzz/fuzz_engine_event.c CORPUS test/fuzz/corpus/engine_event
          LINK weir_router)
