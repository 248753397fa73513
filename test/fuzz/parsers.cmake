weir_fuzz(fuzz_parsers SOURCES test/fuzz/fuzz_parsers.c CORPUS test/fuzz/corpus/parsers
          LINK weir_parsers weir_base)
