weir_test(unit_engine SOURCES test/unit/worker/engine.c LINK weir_worker)
weir_test(unit_mock_text SOURCES test/unit/worker/text.c LINK weir_worker)
weir_test(unit_mock_http SOURCES test/unit/worker/mock_http.c test/unit/runtime/turns.c LINK weir_worker)
