#!/usr/bin/env python3
"""A SGLang that makes prompts and generates nothing: its own pages, request classes, template manager and tokenizer manager, which
need the folder of a model and no weights. Chats and completions answer {"token_ids": [[…], …]}, a list a prompt, or what
SGLang says instead. Run by the Python of its installation, with a stand-in for its kernel package first on the path.

usage: sglang_prompts.py --model-path MODEL_FOLDER --port PORT [any option of sglang.launch_server]"""
import os
import sys

os.environ.update({"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "SGLANG_USE_CPU_ENGINE": "1"})
import uvicorn  # noqa: E402
from sglang.srt.entrypoints import http_server  # noqa: E402
from sglang.srt.entrypoints.engine import init_tokenizer_manager  # noqa: E402
from sglang.srt.entrypoints.openai.serving_completions import OpenAIServingCompletion  # noqa: E402
from sglang.srt.entrypoints.openai.serving_tokenize import OpenAIServingDetokenize, OpenAIServingTokenize  # noqa: E402
from sglang.srt.runtime_context import publish  # noqa: E402
from sglang.srt.server_args import PortArgs, prepare_server_args  # noqa: E402

ALWAYS = ["--host", "127.0.0.1", "--served-model-name", "m", "--device", "cpu", "--attention-backend", "torch_native",
          "--sampling-backend", "pytorch", "--mem-fraction-static", "0.1"]


def main():
    args = prepare_server_args([*ALWAYS, *sys.argv[1:]])
    args.resolve_once()
    publish(args, role="tokenizer")
    manager, templates = init_tokenizer_manager(args, PortArgs.init_new(args))
    manager.max_req_input_len = manager.context_len - 1
    app = http_server.app

    async def prompts(adapted, request, raw_request):
        adapted.normalize_batch_and_arguments()
        manager._init_req_state(adapted, raw_request)
        each = [adapted] if adapted.is_single else [adapted[i] for i in range(adapted.batch_size)]
        try:
            ids = [list((await manager._tokenize_one_request(a)).input_ids) for a in each]
        except ValueError as e:  # as its own pages say what a prompt lacks
            return app.state.openai_serving_chat.create_error_response(str(e))
        finally:
            manager.rid_to_state.clear()
        return http_server.ORJSONResponse({"token_ids": ids})

    app.state.openai_serving_chat = manager.serving_chat_class(manager, templates)
    app.state.openai_serving_completion = OpenAIServingCompletion(manager, templates)
    app.state.openai_serving_tokenize = OpenAIServingTokenize(manager, templates)
    app.state.openai_serving_detokenize = OpenAIServingDetokenize(manager)
    for serving in (app.state.openai_serving_chat, app.state.openai_serving_completion):
        serving._handle_non_streaming_request = serving._handle_streaming_request = prompts
    uvicorn.run(app, host=args.host, port=args.port, lifespan="off", log_level="warning")


if __name__ == "__main__":
    main()
