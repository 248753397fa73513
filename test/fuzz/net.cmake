weir_fuzz(fuzz_zmtp SOURCES test/fuzz/fuzz_zmtp.c net/zmtp.c CORPUS test/fuzz/corpus/zmtp
          LINK weir_base)
