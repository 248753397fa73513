weir_test(unit_wtok_threads SOURCES test/unit/tokenizer/threads.c LINK weir_tokenizer LABELS "unit;stress")
weir_test(unit_wtok_load SOURCES test/unit/tokenizer/load.c LINK weir_tokenizer)
weir_test(unit_wtok_segments SOURCES test/unit/tokenizer/segments.c LINK weir_tokenizer)
weir_test(unit_wtok_prompt SOURCES test/unit/tokenizer/prompt.c LINK weir_tokenizer)
weir_test(unit_wtok_blocks SOURCES test/unit/tokenizer/blocks.c LINK weir_tokenizer)
weir_test(unit_wtok_stream SOURCES test/unit/tokenizer/stream.c LINK weir_tokenizer)
weir_test(unit_wtok_stop SOURCES test/unit/tokenizer/stop.c LINK weir_tokenizer)
weir_test(unit_wtok_chat SOURCES test/unit/tokenizer/chat.c LINK weir_tokenizer)
# Answers a script in bulk: see the head of the file.
add_executable(tok_probe ${CMAKE_SOURCE_DIR}/test/unit/tokenizer/probe.c)
target_include_directories(tok_probe PRIVATE ${CMAKE_SOURCE_DIR})
target_link_libraries(tok_probe PRIVATE weir_tokenizer)
set_target_properties(tok_probe PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/test)
# Against the official package on real tokenizer files; WEIR_TOK_COUNT in the environment sets the
# strings per family. Sanitizer builds look for other faults and need fewer.
set(tok_count 100000)
if(WEIR_SANITIZE)
  set(tok_count 500)
endif()
add_test(NAME tokenizer_reference
         COMMAND python3 ${CMAKE_SOURCE_DIR}/test/unit/tokenizer/reference.py $<TARGET_FILE:tok_probe>
                 ${tok_count}
         WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
# Two minutes and more: first, so that nothing waits for it.
set_tests_properties(tokenizer_reference PROPERTIES LABELS "model;slow" SKIP_RETURN_CODE 77 TIMEOUT 1200 COST 150)
weir_test(unit_wtok_regex SOURCES test/unit/tokenizer/regex.c LINK weir_tokenizer)
