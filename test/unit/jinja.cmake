add_executable(jinja_lines ${CMAKE_SOURCE_DIR}/test/jinja/lines.c)
target_compile_options(jinja_lines PRIVATE ${WEIR_WARNINGS} ${WEIR_C_WARNINGS})
target_link_libraries(jinja_lines PRIVATE weir_tokenizer)
set_target_properties(jinja_lines PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/test)

# Generated templates against Python Jinja2; longer: test/jinja/differential.py DRIVER --count 100000.
add_test(NAME jinja_differential
         COMMAND ${CMAKE_SOURCE_DIR}/test/jinja/run ${CMAKE_BINARY_DIR} ${CMAKE_SOURCE_DIR}/test/jinja/differential.py
                 $<TARGET_FILE:jinja_lines> --count 1500 --sample 40
         WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
set_tests_properties(jinja_differential PROPERTIES LABELS "model" SKIP_RETURN_CODE 77 TIMEOUT 600)

add_test(NAME jinja_models
         COMMAND ${CMAKE_SOURCE_DIR}/test/jinja/run ${CMAKE_BINARY_DIR} ${CMAKE_SOURCE_DIR}/test/jinja/models.py
                 $<TARGET_FILE:jinja_lines> ${CMAKE_BINARY_DIR}/templates --count 20
         WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
add_test(NAME jinja_flavours
         COMMAND ${CMAKE_SOURCE_DIR}/test/jinja/run ${CMAKE_BINARY_DIR} ${CMAKE_SOURCE_DIR}/test/jinja/flavours.py
                 $<TARGET_FILE:weir> ${CMAKE_BINARY_DIR}/template-models --count 60
         WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
set_tests_properties(jinja_models jinja_flavours PROPERTIES LABELS "model" SKIP_RETURN_CODE 77 TIMEOUT 600)
weir_test(unit_wtok_jinja SOURCES test/unit/tokenizer/jinja.c LINK weir_tokenizer Threads::Threads)
add_test(NAME jinja_harmony
         COMMAND python3 ${CMAKE_SOURCE_DIR}/test/jinja/harmony.py $<TARGET_FILE:weir> ${CMAKE_BINARY_DIR}/harmony
         WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
set_tests_properties(jinja_harmony PROPERTIES LABELS "model" SKIP_RETURN_CODE 77 TIMEOUT 700)
weir_test(unit_wtok_templates SOURCES test/unit/tokenizer/chat_templates.c LINK weir_tokenizer)
