# HTTP engines: their list, their answers, their KV events, the relay.
weir_test(unit_engine_answers SOURCES test/unit/engines/answers.c LINK weir_runtime)
weir_test(unit_engine_events SOURCES test/unit/router/engine_events.c LINK weir_router)
weir_test(unit_llmd SOURCES test/unit/engines/llmd.c LINK weir_router)
weir_test(unit_engine_feed SOURCES test/unit/engines/feed.c test/unit/runtime/turns.c
          LINK weir_runtime LABELS "unit;stress") # a quiet engine is asked once a second
weir_test(unit_relay_scan SOURCES test/unit/engines/relay_scan.c LINK weir_frontend)
weir_test(unit_relay_body SOURCES test/unit/engines/relay_body.c LINK weir_frontend)
