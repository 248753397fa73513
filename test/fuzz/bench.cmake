weir_fuzz(fuzz_trace SOURCES test/fuzz/fuzz_trace.c CORPUS test/fuzz/corpus/trace LINK weir_bench STRUCTURED)
