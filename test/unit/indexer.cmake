weir_test(unit_indexer_mirror SOURCES test/unit/indexer/mirror.c LINK weir_indexer)
weir_test(unit_indexer_tokens SOURCES test/unit/indexer/tokens.c LINK weir_indexer)
target_link_options(unit_indexer_tokens PRIVATE -Wl,--wrap=kvi_hash_blocks) # a client leaves there
weir_test(unit_indexer_dump SOURCES test/unit/indexer/dump.c LINK weir_indexer)
