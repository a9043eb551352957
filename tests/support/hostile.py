"""Templates that want all the time, all the memory, or an object's address."""

LOOP = "{% for i in range(20000) %}"
NS = "{% set n = namespace(x=1, l=[1], t=(1, 1), s='ab') %}"
END = "{% endfor %}"
WIDE = "{% set b = 'ab' * 400000 %}"
LIST = "{% set l = range(99999) | list %}"
DEEP = NS + "{% for i in range(60) %}{% set n.l = [n.l, n.l] %}{% endfor %}"
TUPLES = NS + "{% for i in range(60) %}{% set n.t = (n.t, n.t) %}{% endfor %}"
OTHER = (
    "{% set m = namespace(l=[1]) %}{% for i in range(60) %}{% set m.l = [m.l, m.l] %}{% endfor %}"
)

ENDLESS = {
    "power": "{{ 9 ** (9 ** 9) }}",
    "tenth power": "{{ 10 ** 5000 }}",
    "squares": NS + "{% set n.x = 3 %}" + LOOP + "{% set n.x = n.x * n.x %}" + END,
    "doubled numbers": NS + LOOP + "{% set n.x = n.x + n.x %}" + END,
    "subtracted numbers": NS + LOOP + "{% set n.x = n.x - (0 - n.x) %}" + END,
    "hexadecimal": "{% set x = ('f' * 900000) | int(0, 16) %}{{ x // 3 }}",
    "long number": "{{ ('9' * 4000) | int * 2 }}",
    "repeated text": "{{ 'a' * 10 ** 9 }}",
    "repeated list": "{{ ([1] * 10 ** 9) | length }}",
    "repeated tuple": "{{ ((1, 2) * 999999 * 999) | length }}",
    "padded": "{{ 'x'.ljust(10 ** 9) }}",
    "centred": "{{ 'x'.center(10 ** 9) }}",
    "zeros": "{{ '7'.zfill(10 ** 9) }}",
    "tabs": "{{ '\t'.expandtabs(10 ** 9) }}",
    "bytes": "{{ (5).to_bytes(10 ** 9, 'big') }}",
    "percent": "{{ '%1000000000d' % 1 }}",
    "percent filter": "{{ '%1000000000d' | format(1) }}",
    "odd percent": "{% if '%1000000000d' is odd %}{% endif %}",
    "divided percent": "{% if '%1000000000d' is divisibleby(3) %}{% endif %}",
    "braces": "{{ '{:1000000000}'.format(1) }}",
    "huge range": "{% if 'a' in range(10 ** 12) %}{% endif %}",
    "range in a loop": LOOP + "{% if 0.5 in range(99999) %}{% endif %}" + END,
    "member of a list": LIST + LOOP + "{% if 0.5 in l %}{% endif %}" + END,
    "member, as a test": LIST + LOOP + "{% if 0.5 is in(l) %}{% endif %}" + END,
    "part of a text": WIDE + LOOP + "{% if 'bb' in b %}{% endif %}" + END,
    "equal lists": LIST
    + "{% set m = range(99999) | list %}"
    + LOOP
    + "{% if l == m %}{% endif %}"
    + END,
    "equal lists, as a test": LIST
    + "{% set m = range(99999) | list %}"
    + LOOP
    + "{% if l is eq(m) %}{% endif %}"
    + END,
    "ordered lists": LIST
    + "{% set m = range(99999) | list %}"
    + LOOP
    + "{% if l < m %}{% endif %}"
    + END,
    "equal trees": DEEP + OTHER + "{% if n.l == m.l %}{% endif %}",
    "tree as a key": TUPLES + "{% set d = {n.t: 1} %}",
    "tree looked up": TUPLES + "{% set d = {1: 1} %}{{ d[n.t] }}",
    "tree, unique": TUPLES + "{{ [n.t, n.t] | unique | length }}",
    "tree, sorted": DEEP + OTHER + "{{ [n.l, m.l] | sort | length }}",
    "tree, changed": "{% for k in range(9) %}"
    + DEEP
    + "{{ loop.changed(n.l) | string }}{% endfor %}",
    "sorted in a loop": LOOP + "{% set x = range(99999) | sort %}" + END,
    "sorted by attribute": LIST + LOOP + "{% set x = l | sort(reverse=true) %}" + END,
    "reversed": LIST + LOOP + "{% set x = l | reverse | list %}" + END,
    "largest": LIST + LOOP + "{% set x = l | max %}" + END,
    "unique": LIST + LOOP + "{% set x = l | unique | list %}" + END,
    "mapped": LIST + LOOP + "{% set x = l | map('string') | list %}" + END,
    "selected": LIST + LOOP + "{% set x = l | select('odd') | list %}" + END,
    "pipeline": LIST + "{% set x = l" + " | select('integer')" * 80 + " %}",
    "kept lists": NS + LOOP + "{% set n.l = [n.l, range(99999) | list] %}" + END,
    "doubled list": NS + LOOP + "{% set n.l = n.l + n.l %}" + END,
    "doubled text": NS + LOOP + "{% set n.s = n.s ~ n.s %}" + END,
    "kept texts": NS + WIDE + LOOP + "{% set n.l = [n.l, b ~ i] %}" + END,
    "kept short texts": NS
    + "{% set b = '\U0001f600' * 900 %}"
    + LOOP
    + "{% set n.l = [n.l, b ~ i, b ~ 1, b ~ 2, b ~ 3] %}"
    + END,
    "kept slices": NS + WIDE + LOOP + "{% set n.l = [n.l, b[1:]] %}" + END,
    "slices of a list": LIST + LOOP + "{% set x = l[1:] %}" + END,
    "upper": WIDE + LOOP + "{% set x = b | upper %}" + END,
    "upper as a method": WIDE + LOOP + "{% set x = b.upper() %}" + END,
    "titles": "{% set b = '\u0436-' * 400000 %}" + LOOP + "{% set x = b | title %}" + END,
    "words": "{% set b = 'a ' * 400000 %}" + LOOP + "{% set x = b | wordcount %}" + END,
    "split": "{% set b = '\u0436 ' * 400000 %}" + LOOP + "{% set x = b.split() %}" + END,
    "kept splits": NS
    + "{% set b = 'a ' * 40000 %}"
    + LOOP
    + "{% set n.l = [n.l, b.split()] %}"
    + END,
    "stripped": WIDE + "{% set x = b.strip('ba' * 400000) %}",
    "trimmed": WIDE + "{% set x = b | trim('ba' * 400000) %}",
    "counted": WIDE + LOOP + "{% set x = b.count('ab') %}" + END,
    "letters": WIDE + LOOP + "{% set x = b | list %}" + END,
    "grown": "{{ ('a' * 1000) | replace('a', 'a' * 40000) }}",
    "joined": "{{ range(99999) | join('a' * 40000) }}",
    "macro of itself": "{% macro m(k) %}{{ m(k - 1) }}{{ m(k - 1) }}{% endmacro %}{{ m(30) }}",
    "macro without end": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "macro of copies": "{% macro m(x) %}a{{ x }}{% endmacro %}"
    + NS
    + WIDE
    + LOOP
    + "{% set n.l = [n.l, m(b)] %}"
    + END,
    "macro arguments": "{% macro m() %}{{ varargs | length }}{% endmacro %}"
    + LIST
    + LOOP
    + "{% set x = m(*l) %}"
    + END,
    "call block": "{% macro m() %}{{ caller() }}{{ caller() }}{% endmacro %}"
    + "{% call m() %}" * 15
    + "x" * 40
    + "{% endcall %}" * 15
    + WIDE
    + LOOP
    + "{% set x = b ~ 1 %}"
    + END,
    "wide body": LOOP + "{{ i }}" * 400 + END,
    "wide body in a macro": "{% macro m() %}"
    + LOOP
    + "{{ i }}" * 400
    + END
    + "{% endmacro %}{{ m() }}",
    "wide macro": "{% macro m() %}" + "{{ 1 }}" * 400 + "{% endmacro %}" + LOOP + "{{ m() }}" + END,
    "wide condition": "{% for i in range(20000) if "
    + " and ".join(["i > -1"] * 400)
    + " and i < 0 %}{% endfor %}",
    "wide set block": WIDE + LOOP + "{% set x %}{{ b }}{{ b }}{% endset %}" + END,
    "filter block": WIDE + LOOP + "{% filter upper %}{{ b }}{% endfilter %}" + END,
    "loops in loops": LOOP * 3 + END * 3,
    "meter": "{% for i in range(10000) %}{% for k in [0 - 10 ** 9] | map('!pay') %}{% endfor %}"
    "{% for j in range(10000) %}{% endfor %}{% endfor %}",
}
"""What must end by an error row, quickly and in little memory."""

STRANGE = {
    "{{ item.title.upper }}": "call it: upper()",
    "{{ item.title.upper ~ 'x' }}": "call it: upper()",
    "{{ [item.title.upper] | join }}": "call it: upper()",
    "{{ item.title.upper | string }}": "call it: upper()",
    "{{ item.title.upper | trim }}": "call it: upper()",
    "{{ 'a' | replace('a', item.title.upper) }}": "call it: upper()",
    "{{ item.title.upper | default('x') }}": "call it: upper()",
    "{{ [item.title.upper] | first }}": "call it: upper()",
    "{{ [item.title.split] | join_nonempty }}": "call it: split()",
    "{% set x %}{{ item.title.upper }}{% endset %}{{ x }}": "call it: upper()",
    "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(item.title.upper) }}": "call it: upper()",
    "{% macro m() %}{% endmacro %}{{ m }}": "the macro m itself; call it: m(...)",
    "{{ range }}": "the function range itself; call it: range()",
    "{{ dict }}": "dict",
    "{{ namespace }}": "call it: namespace()",
    "{{ namespace(a=1) }}": "a namespace; write one of its names",
    "{% for x in [1] %}{{ loop }}{% endfor %}": "loop.index",
    "{% for x in [1] %}{{ loop.cycle }}{% endfor %}": "call it: cycle()",
    "{{ ['a'] | map('upper') }}": "a list; write its parts, or join them",
    "{{ ['a'] | list }}": "a list; write its parts, or join them",
    "{{ ['a'] | reverse }}": "a list; write its parts, or join them",
    "{{ {'a': 1} }}": "a dict; write its parts, or join them",
    "{{ {'a': 1} | items }}": "a list; write its parts, or join them",
    "{{ range(3) }}": "a range; write its parts, or join them",
    "{{ vars }}": "a mappingproxy; write its parts",
    "{{ 1e308 * 10 }}": "1e+308 * 10 is an infinite number",
    "{{ item.huge }}": "item.huge is an infinite number",
    "{{ item.digits }}": "item.digits is a whole number of more than 4,300 digits",
    "{{ item.thing }}": "item.thing is a object",
    "{{ item.title ~ item.thing }}": "item.thing is a object",
    "{{ [[1], 2] | join }}": "a list; write its parts",
    "{% if item.title is sameas 'Heat' %}{% endif %}": "compare others with ==",
}
"""Template -> what its error row says."""
