# HTTP engines: their list, their answers, their KV events, the relay.
weir_test(unit_engine_answers SOURCES test/unit/engines/answers.c LINK weir_runtime)
weir_test(unit_engine_recorded SOURCES test/unit/engines/recorded.c LINK weir_frontend)
weir_test(unit_engine_names SOURCES test/unit/router/engine_names.c LINK weir_router)
weir_test(unit_engine_events SOURCES test/unit/router/engine_events.c LINK weir_router)
weir_test(unit_llmd SOURCES test/unit/engines/llmd.c LINK weir_router)
weir_test(unit_engine_feed SOURCES test/unit/engines/feed.c test/unit/runtime/turns.c
          LINK weir_runtime LABELS "unit;stress") # a quiet engine is asked once a second
weir_test(unit_engine_feed_random SOURCES test/unit/engines/feed_random.c test/unit/runtime/turns.c
          LINK weir_runtime LABELS "unit;stress")
# Answers a script: see the head of the file. dialects.py holds it to a naive decoder and a naive
# engine, and where they can be had to the official encoders.
add_executable(event_probe ${CMAKE_SOURCE_DIR}/test/unit/engines/event_probe.c)
target_include_directories(event_probe PRIVATE ${CMAKE_SOURCE_DIR})
target_link_libraries(event_probe PRIVATE weir_router)
set_target_properties(event_probe PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/test)
add_test(NAME event_dialects
         COMMAND python3 -B ${CMAKE_SOURCE_DIR}/test/unit/engines/dialects.py $<TARGET_FILE:event_probe> 300
         WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
set_tests_properties(event_dialects PROPERTIES LABELS unit TIMEOUT 1500)
add_test(NAME event_dialects_official
         COMMAND python3 -B ${CMAKE_SOURCE_DIR}/test/unit/engines/dialects.py $<TARGET_FILE:event_probe> 2000
                 official
         WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
set_tests_properties(event_dialects_official PROPERTIES LABELS "model;slow" SKIP_RETURN_CODE 77 TIMEOUT 15000)
weir_test(unit_relay_scan SOURCES test/unit/engines/relay_scan.c LINK weir_frontend)
weir_test(unit_relay_body SOURCES test/unit/engines/relay_body.c LINK weir_frontend)
