"""Python Jinja2 in the environment of Hugging Face transformers: the reference of the template tests."""
import json
from datetime import datetime, timezone

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(jinja2.ext.Extension):
    """{% generation %}: a call block whose text passes through; notes where it stands."""
    tags = {"generation"}

    def __init__(self, environment):
        super().__init__(environment)
        environment.extend(ranges=[], rendered=None)

    def parse(self, parser):
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_generation"), [], [], body).set_lineno(lineno)

    @jinja2.pass_eval_context
    def _generation(self, context, caller):
        rv = caller()
        if self.environment.rendered is not None:
            start = len("".join(self.environment.rendered).encode())
            self.environment.ranges.append((start, start + len(rv.encode())))
        return rv


NOW = [0]


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def strftime_now(format):
    return datetime.fromtimestamp(NOW[0]).strftime(format)


env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                    extensions=[Generation, jinja2.ext.loopcontrols])
env.filters["tojson"] = tojson
env.globals["raise_exception"] = raise_exception
env.globals["strftime_now"] = strftime_now

KINDS = {"SyntaxError": "TemplateSyntaxError", "RecursionError": "limit"}


def render(case, compiled=None):
    """{"out": text} or {"err": kind, "text": message}, as the driver answers. `compiled` keeps templates."""
    NOW[0] = case.get("now", 0)
    try:
        data = json.loads(json.dumps(case["d"]))
        template = compiled.get(case["t"]) if compiled is not None else None
        if template is None:
            template = env.from_string(case["t"])
        if compiled is not None:
            compiled[case["t"]] = template
        if not case.get("g"):
            return {"out": template.render(**data)}
        env.ranges.clear()
        env.rendered = []
        try:
            for piece in template.generate(**data):
                env.rendered.append(piece)
            return {"out": "".join(env.rendered), "ranges": [n for r in env.ranges for n in r]}
        finally:
            env.rendered = None
    except Exception as e:  # noqa: BLE001: every kind is compared
        name = type(e).__name__
        return {"err": KINDS.get(name, name), "text": str(e)}
