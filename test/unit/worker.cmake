weir_test(unit_engine SOURCES test/unit/worker/engine.c LINK weir_worker)
