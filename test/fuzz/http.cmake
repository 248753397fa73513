set(http_dir test/unit/http)
weir_fuzz(fuzz_http SOURCES test/fuzz/fuzz_http.c ${http_dir}/fake_net.c ${http_dir}/handler.c
          net/http_parse.c net/http_chunk.c net/http_server.c net/http_server_conn.c
          net/http_server_answer.c net/http_exchange.c net/http2_conn.c net/http2_body.c net/http2_answer.c
          CORPUS test/fuzz/corpus/http LINK weir_base weir_llhttp PkgConfig::NGHTTP2)
weir_fuzz(fuzz_http2 SOURCES test/fuzz/fuzz_http2.c ${http_dir}/fake_net.c ${http_dir}/handler.c
          net/http_parse.c net/http_chunk.c net/http_server.c net/http_server_conn.c
          net/http_server_answer.c net/http_exchange.c net/http2_conn.c net/http2_body.c net/http2_answer.c
          CORPUS test/fuzz/corpus/http2 LINK weir_base PkgConfig::NGHTTP2)
weir_fuzz(fuzz_http_client SOURCES test/fuzz/fuzz_http_client.c ${http_dir}/fake_net.c
          net/http_client.c net/http_client_conn.c net/http_parse.c net/http_chunk.c
          CORPUS test/fuzz/corpus/http_client LINK weir_base)
weir_fuzz(fuzz_sse SOURCES test/fuzz/fuzz_sse.c ${http_dir}/sse_naive.c net/sse.c
          CORPUS test/fuzz/corpus/sse LINK weir_base STRUCTURED)
