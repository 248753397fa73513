foreach(name two_part request_frame request output kv_event record etcd sequence_event jetstream radix_state
        openai responses messages chat_read embeddings media_url image_size)
  weir_fuzz(fuzz_${name} SOURCES test/fuzz/fuzz_${name}.c CORPUS test/fuzz/corpus/${name} LINK weir_wire STRUCTURED)
endforeach()
