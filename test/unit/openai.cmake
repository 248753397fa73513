weir_test(unit_openai_parse SOURCES test/unit/openai/parse.c LINK weir_wire)
# Reads one case a line on standard input ("chat"|"completion"|"responses", blank, body in hex); prints status and message.
add_executable(openai_probe ${CMAKE_SOURCE_DIR}/test/unit/openai/probe.c)
target_include_directories(openai_probe PRIVATE ${CMAKE_SOURCE_DIR})
target_link_libraries(openai_probe PRIVATE weir_wire)
set_target_properties(openai_probe PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/test)
add_test(NAME recorded_requests
         COMMAND python3 ${CMAKE_SOURCE_DIR}/test/unit/openai/recorded.py $<TARGET_FILE:openai_probe>
         WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
set_tests_properties(recorded_requests PROPERTIES LABELS unit SKIP_RETURN_CODE 77 TIMEOUT 1500)
weir_test(unit_openai_responses SOURCES test/unit/openai/responses.c LINK weir_wire)
weir_test(unit_openai_messages SOURCES test/unit/openai/messages.c LINK weir_wire)
weir_test(unit_openai_chat_read SOURCES test/unit/openai/chat_read.c LINK weir_wire)
weir_test(unit_openai_answer SOURCES test/unit/openai/answer.c LINK weir_wire weir_base)
add_test(NAME refused_requests
         COMMAND python3 ${CMAKE_SOURCE_DIR}/test/unit/openai/refusals.py $<TARGET_FILE:openai_probe>
         WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
set_tests_properties(refused_requests PROPERTIES LABELS unit TIMEOUT 1500)
