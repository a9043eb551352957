"""Models' chat templates: the text that transformers makes of them, within a budget."""

import time
from datetime import datetime
from typing import Any

import pytest

from promptrank.errors import ModelError
from promptrank.prompt import from_transformers
from promptrank.prompt.chat_sandbox import render_chat
from support.models import CHAT_TEMPLATE, byte_level_tokenizer
from support.prompts import byte_bpe

DAY = datetime(2025, 1, 1)
USER = [{"role": "user", "content": " What? "}]
TALK = [
    {"role": "system", "content": "Be {kind}."},
    *USER,
    {"role": "assistant", "content": "<think>\nhm\n</think>\n\nYes"},
    {"role": "user", "content": "Why %s?\n"},
]

TEMPLATES = {
    "tiny": CHAT_TEMPLATE,
    "smollm2": "{% for message in messages %}{% if loop.first and messages[0]['role'] != "
    "'system' %}{{ '<|im_start|>system\nYou are SmolLM<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "llama 2": "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate') }}{% endif %}"
    "{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\n' + "
    "system_message + '\n<</SYS>>\n\n' + message['content'] %}{% else %}"
    "{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% else %}"
    "{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    "llama 3": "{%- if not date_string is defined %}{%- set date_string = strftime_now('%d %b %Y') "
    "%}{%- endif %}\n{{- bos_token }}{{- 'Today: ' + date_string + '\n' }}"
    "{%- for message in messages %}\n    {%- if not (message.role == 'ipython' or 'tool_calls' in "
    "message) %}\n        {{- '<|start|>' + message['role'] + '<|end|>\n\n'+ message['content'] | "
    "trim + '<|eot|>' }}\n    {%- elif message.tool_calls is defined %}{{ message.tool_calls | "
    "tojson(indent=4) }}{%- endif %}\n{%- endfor %}\n{%- if add_generation_prompt %}"
    "{{- '<|start|>assistant<|end|>\n\n' }}\n{%- endif %}",
    "qwen 3": "{%- set ns = namespace(multi_step_tool=true, last=messages|length - 1) %}\n"
    "{%- for message in messages[::-1] %}\n    {%- set index = (messages|length - 1) - "
    "loop.index0 %}\n    {%- if ns.multi_step_tool and message.role == 'user' and "
    "message.content is string and not(message.content.startswith('<tool_response>') "
    "and message.content.endswith('</tool_response>')) %}\n        "
    "{%- set ns.multi_step_tool = false %}"
    "{%- set ns.last = index %}\n    {%- endif %}\n{%- endfor %}\n{%- for message in messages %}\n"
    "    {%- set content = message.content %}{%- set reasoning = '' %}\n"
    "    {%- if message.role == 'assistant' and '</think>' in content %}\n"
    "        {%- set reasoning = content.split('</think>')[0].rstrip('\n').split('<think>')[-1]"
    ".lstrip('\n') %}{%- set content = content.split('</think>')[-1].lstrip('\n') %}\n"
    "    {%- endif %}\n    {%- if loop.index0 > ns.last or loop.last %}{{- '<|im_start|>' ~ "
    "message.role ~ '\n' ~ reasoning ~ content ~ '<|im_end|>\n' }}{%- else %}"
    "{{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>\n' }}{%- endif %}\n"
    "{%- endfor %}\n{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}"
    "{{- '<think>\n\n</think>\n\n' }}{%- endif %}{%- endif %}",
    "gemma": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]"
    "['content'] + '\n\n' %}{% set rest = messages[1:] %}{% else %}{% set first = '' %}"
    "{% set rest = messages %}{% endif %}{% for message in rest %}{% if message['role'] == "
    "'assistant' %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + (first if loop.first else '') }}"
    "{% if message['content'] is string %}{{ message['content'] | trim }}"
    "{% elif message['content'] is iterable %}{% for item in message['content'] %}"
    "{% if item['type'] == 'text' %}{{ item['text'] | trim }}{% endif %}{% endfor %}{% endif %}"
    "{{ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<start_of_turn>model\n' }}{% endif %}",
    "much of the language": "{% macro show(m, mark='-') %}{{ mark }}{{ m.role | upper }}:"
    "{{ m.get('content', '') | replace('\n', ' ') | indent(2) }}{% endmacro %}"
    "{% for m in messages | selectattr('role', 'in', ['user', 'assistant']) | list %}"
    "{{ show(m) }}{{ show(m, mark='*' * 3) }}{{ loop.cycle('a', 'b') }}{% if loop.index > 2 %}"
    "{% break %}{% endif %}{% endfor %}{{ messages | map(attribute='role') | join(', ') }}"
    "{{ '%s-%d' % ('x', 3) }}{{ '{}/{a:>5}'.format(1, a=2) }}{{ '%5s' | format('q') }}"
    "{% for k, v in messages[0].items() %}{{ k }}={{ v | tojson }};{% endfor %}"
    "{{ messages[0] | tojson(indent=2) }}{{ tools is none }}{{ nothing }}{{ [1, 'a', None] }}"
    "{% generation %}{% set x = 1 %}{{ messages | length }}{% endgeneration %}{{ x is defined }}"
    "{% for c in [[1, [2]], [3]] recursive %}{% if c is iterable %}{{ loop(c) }}{% else %}{{ c }}"
    "{% endif %}{% endfor %}{{ 7 // 2 }}{{ 7 / 2 }}{{ 2 ** 5 }}{{ -3 % 5 }}{{ 'ab'[::-1] }}"
    "{{ messages | groupby('role') | map('first') | list }}{{ range(4) | batch(3, 0) | list }}"
    "{{ 1 < 2 < 3 }}{{ 'a' not in 'cab' }}{{ {'k': [1]}['k'][0] }}{{ messages | last | length }}"
    "{% filter upper %}abc{% endfilter %}{% set b %}x{{ 1 }}{% endset %}{{ b ~ none ~ true }}",
}


@pytest.mark.parametrize("generate", [True, False])
@pytest.mark.parametrize("name", TEMPLATES)
def test_the_text_is_transformers_own(name: str, generate: bool) -> None:
    tokenizer: Any = byte_level_tokenizer()
    tokenizer.chat_template = TEMPLATES[name]
    for messages in (USER, TALK):
        options: dict[str, Any] = {"enable_thinking": False, "strftime_now": DAY.strftime}
        expected = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=generate, **options
        )
        values = {
            "messages": messages,
            "tools": None,
            "documents": None,
            "add_generation_prompt": generate,
            **tokenizer.special_tokens_map,
            "enable_thinking": False,
        }
        assert render_chat(TEMPLATES[name], values, DAY) == expected


BIG = "{% set b = 'ab' * 400000 %}"
LOOP = "{% for i in range(20000) %}"
ENDLESS = {
    "loops": LOOP * 3 + "{% endfor %}" * 3,
    "power": "{{ 9 ** (9 ** 9) }}",
    "repeated": "{{ 'a' * 10 ** 10 }}",
    "padded": "{{ 'a'.ljust(10 ** 10) }}",
    "centred": "{{ 'a' | center(10 ** 10) }}",
    "percent": "{{ '%10000000000d' % 1 }}",
    "percent star": "{{ '%*d' % (10 ** 9, 1) }}",
    "format": "{{ '{:10000000000}'.format(1) }}",
    "format in format": "{{ '{:{}}'.format(1, 10 ** 9) }}",
    "format filter": "{{ '%10000000000d' | format(1) }}",
    "format map": "{{ '{a:10000000000}'.format_map({'a': 1}) }}",
    "indented": "{{ ('\n' * 100000) | indent(100000) }}",
    "batch": "{{ [1] | batch(10 ** 10, 'x') | list }}",
    "slices": "{{ [1] | slice(10 ** 10) | list }}",
    "joined": "{{ ('a' * 1000000).join(['b'] * 1000000) }}",
    "replaced": "{{ ('a' * 1000000).replace('a', 'a' * 1000000) }}",
    "bytes": "{{ (5).to_bytes(10 ** 10, 'big') }}",
    "zeros": "{{ '7'.zfill(10 ** 10) }}",
    "expanded": "{{ '\t'.expandtabs(10 ** 10) }}",
    "encoded": BIG + LOOP + "{% set x = b.encode() %}{% endfor %}",
    "lorem ipsum": "{{ lipsum(10 ** 10) }}",
    "at random": "{{ [1, 2] | random }}",
    "recursive": "{% for x in [1] recursive %}{{ loop([1, 2]) }}{{ loop(range(99999)) }}"
    "{% endfor %}",
    "macro": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "tree": "{% set n = namespace(l=[1]) %}{% for i in range(60) %}{% set n.l = [n.l, n.l] %}"
    "{% endfor %}{{ n.l }}",
    "tree as JSON": "{% set n = namespace(l=[1]) %}{% for i in range(60) %}"
    "{% set n.l = [n.l, n.l] %}{% endfor %}{{ n.l | tojson }}",
    "fromkeys": LOOP + "{% set x = {}.fromkeys(range(99999)) %}{% endfor %}",
    "kept": "{% set n = namespace(l=[]) %}"
    + BIG
    + LOOP
    + "{% set n.l = [n.l, b ~ i] %}{% endfor %}",
    "written": BIG + LOOP + "{{ b }}{% endfor %}",
    "address": "{{ messages[0].items }}",
    "address of a macro": "{% macro m() %}{% endmacro %}{{ m }}",
    "address in a text": "{{ '%s' % cycler(1) }}",
    "address by format": "{{ '{}'.format(joiner()) }}",
    "address in a list": "{{ [namespace()] }}",
}


@pytest.mark.long
@pytest.mark.parametrize("name", ENDLESS)
def test_endless_ones_end(name: str) -> None:
    tokenizer: Any = byte_level_tokenizer()
    tokenizer.chat_template = ENDLESS[name]
    start = time.process_time()
    with pytest.raises(ModelError, match=r"the chat template fails: .*; set chat: false") as caught:
        _ = from_transformers(tokenizer).chat
    assert time.process_time() - start < 2.0  # else ages, or all memory
    assert "0x" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_the_wrapper_needs_no_transformers_to_be_cut() -> None:
    assert byte_bpe().chat.head[0].startswith("<|im_start|>")
