# /// script
# requires-python = ">=3.9"
# dependencies = ["jinja2"]
# ///
"""Jinja2: templates inherited, included, filtered, cached as bytecode, refused by the sandbox, and awaited."""

import asyncio
import os
import tempfile

import jinja2
from jinja2.sandbox import SandboxedEnvironment

BASE = """<title>{% block title %}none{% endblock %}</title>
{% block body %}{% endblock %}"""
PAGE = """{% extends "base.html" %}
{% from "macros.html" import item %}
{% block title %}{{ title }}{% endblock %}
{% block body -%}
{% for row in rows if row.shown %}{{ item(loop.index, row.name) }}{% else %}nothing{% endfor %}
{%- endblock %}"""
MACROS = "{% macro item(n, name) %}<li>{{ n }}: {{ name | title | shout }}</li>{% endmacro %}"


def inheritance():
    environment = jinja2.Environment(
        loader=jinja2.DictLoader({"base.html": BASE, "page.html": PAGE, "macros.html": MACROS}),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["shout"] = lambda text: f"{text}!"
    rows = [{"name": "ada", "shown": True}, {"name": "hidden", "shown": False}, {"name": "<grace>", "shown": True}]
    page = environment.get_template("page.html").render(title="A & B", rows=rows)
    assert "<title>A &amp; B</title>" in page and "hidden" not in page
    try:
        environment.from_string("{{ missing }}").render()
        raise AssertionError("an undefined name was rendered")
    except jinja2.UndefinedError as error:
        return page.splitlines()[-1], str(error)


def files(directory):
    templates, cache = os.path.join(directory, "templates"), os.path.join(directory, "cache")
    os.makedirs(templates)
    os.makedirs(cache)
    path = os.path.join(templates, "letter.txt")
    for text in ("Dear {{ name }},", "Hello {{ name }}!"):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(templates), bytecode_cache=jinja2.FileSystemBytecodeCache(cache)
        )
        letter = environment.get_template("letter.txt").render(name="Ada")
    return letter, environment.list_templates(), len(os.listdir(cache))


def refused():
    try:
        SandboxedEnvironment().from_string("{{ ''.__class__.__mro__[1].__subclasses__() }}").render()
        return "rendered"
    except jinja2.exceptions.SecurityError:
        return "refused"


async def awaited():
    async def numbers():
        for n in range(4):
            await asyncio.sleep(0)
            yield n

    environment = jinja2.Environment(enable_async=True)
    template = environment.from_string("{% for n in numbers %}{{ n ** 2 }} {% endfor %}")
    return (await template.render_async(numbers=numbers())).strip()


def syntax():
    try:
        jinja2.Environment().from_string("line\n{% if %}")
        return "accepted"
    except jinja2.TemplateSyntaxError as error:
        return f"line {error.lineno}"


print("inheritance:", *inheritance(), sep="\n  ")
with tempfile.TemporaryDirectory(prefix="jinja2-") as directory:
    print("files:", *files(directory))
print("sandbox:", refused())
print("awaited:", asyncio.run(awaited()))
print("syntax:", syntax())
print("ok: jinja2 works")
