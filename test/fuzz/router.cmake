weir_fuzz(fuzz_decision SOURCES test/fuzz/fuzz_decision.c CORPUS test/fuzz/corpus/decision LINK weir_router STRUCTURED)
