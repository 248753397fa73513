# The HTTP files over fake streams (no sockets, a clock that tests move).
set(http_server_sources net/http_parse.c net/http_chunk.c net/http_server.c net/http_server_conn.c
    net/http_server_answer.c net/http_exchange.c net/http2_conn.c net/http2_body.c net/http2_answer.c)
set(http_fake test/unit/http/fake_net.c test/unit/http/handler.c)
weir_test(unit_http_server SOURCES test/unit/http/server.c ${http_fake} ${http_server_sources}
          LINK weir_base PkgConfig::NGHTTP2)
weir_test(unit_http2 SOURCES test/unit/http/http2.c test/unit/http/http2_rig.c
          ${http_fake} ${http_server_sources}
          LINK weir_base PkgConfig::NGHTTP2)
weir_test(unit_http_socket SOURCES test/unit/http/socket.c test/unit/http/handler.c LINK weir_net)
set(http_client_sources net/http_client.c net/http_client_conn.c net/http_parse.c net/http_chunk.c)
weir_test(unit_http_client SOURCES test/unit/http/client.c test/unit/http/fake_net.c
          ${http_client_sources} LINK weir_base)
weir_test(unit_sse SOURCES test/unit/http/sse.c test/unit/http/sse_naive.c net/sse.c LINK weir_base)
weir_test(unit_http_loopback SOURCES test/unit/http/loopback.c test/unit/net/certs.c
          LINK weir_net OpenSSL::SSL LABELS "unit;stress")
weir_test(unit_http_torture SOURCES test/unit/http/torture.c ${http_fake} ${http_server_sources}
          net/http_client.c net/http_client_conn.c LINK weir_base PkgConfig::NGHTTP2)
weir_test(unit_http_stale SOURCES test/unit/http/stale.c test/unit/runtime/turns.c LINK weir_net)
