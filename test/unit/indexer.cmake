weir_test(unit_indexer_mirror SOURCES test/unit/indexer/mirror.c LINK weir_indexer)
