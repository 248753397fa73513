weir_test(unit_global_pools SOURCES test/unit/global_router/pools.c LINK weir_global_router)
