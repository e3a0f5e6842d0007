// Statements and whitespace, with what jinja2 3.1 renders for them, set up as transformers does (kError: an exception
// there).
#include <gtest/gtest.h>

#include "text/chat_template_cases.h"

namespace xylem {
namespace {

// clang-format off
const TemplateCase kCases[] = {
{R"~({{ msgs|groupby("role")|list|length }}|{% for g in msgs|groupby("role") %}{{ g.grouper }}:{{ g.list|length }};{{ g[0] }}{% endfor %}|{% for k, v in msgs|groupby("role") %}{{ k }}{{ v|map(attribute="n")|list }}{% endfor %})~",
 R"~(2|assistant:1;assistantuser:2;user|assistant[1]user[2, 3])~"},
{R"~({% if false %}{{ 1|nofilter }}{% endif %}ok)~",
 R"~(ok)~"},
{R"~({% if true %}{{ 1|nofilter }}{% endif %}ok)~",
 kError},
{R"~({% for i in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle("a","b") }}{{ loop.depth }}{{ loop.depth0 }}{{ loop.changed(i > 1) }};{% endfor %})~",
 R"~(1032TrueFalse31a10True;2121FalseFalse332b10True;3210FalseTrue31a10True;)~"},
{R"~({% for i in [] %}x{% else %}empty{% endfor %}|{% for i in l %}{{ i }}{% else %}empty{% endfor %}|{% for i in missing %}x{% else %}e{% endfor %})~",
 R"~(empty|312|e)~"},
{R"~({% for i in none %}x{% endfor %})~",
 kError},
{R"~({% for i in 5 %}x{% endfor %})~",
 kError},
{R"~({% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}|{% for k in d %}{{ k }}{% endfor %}|{% for c in u %}{{ c }}.{% endfor %}|{% for (a, b) in [(1,2)] %}{{ a }}{{ b }}{% endfor %}|{% for a, (b, c) in [(1,(2,3))] %}{{ a }}{{ b }}{{ c }}{% endfor %})~",
 R"~(b=1;a=2;C=None;items=5;|baCitems|n.a.ï.v.e. .東.京. .🙂. .ß.|12|123)~"},
{R"~({% for a, b in [(1,2,3)] %}{% endfor %})~",
 kError},
{R"~({% for a, b in [1] %}{% endfor %})~",
 kError},
{R"~({% for a, b in ["xy"] %}{{ a }}{{ b }}{% endfor %})~",
 R"~(xy)~"},
{R"~({% for i in range(10) if i is odd %}{{ i }}{{ loop.index }}{{ loop.last }}{{ loop.length }};{% endfor %}|{% for i in l if i > 99 %}{% else %}none{% endfor %}|{% for i in range(10) if i % 3 == 0 %}{{ loop.nextitem }}{{ loop.previtem }},{% endfor %})~",
 R"~(11False5;32False5;53False5;74False5;95True5;|none|3,60,93,6,)~"},
{R"~({% for i in range(10) %}{% if i == 3 %}{% continue %}{% endif %}{% if i == 6 %}{% break %}{% endif %}{{ i }}{% endfor %}|{% for i in [1] %}{% break %}{% else %}e{% endfor %}|{% for i in [1] %}{% continue %}{% else %}e{% endfor %})~",
 R"~(01245|e|e)~"},
{R"~({% for i in [1,2] %}{% for j in [3,4] %}{{ loop.index }}{% if j == 3 %}{% break %}{% endif %}{% endfor %}{{ loop.index }}{% endfor %})~",
 R"~(1112)~"},
{R"~({% for x in [1,2] recursive %}{{ x }}{% if x == 1 %}({{ loop([5,6]) }}){% endif %}{{ loop.depth }}{% endfor %})~",
 R"~(1(5262)121)~"},
{R"~({% for n in [{"v":1,"c":[{"v":2,"c":[]}]}] recursive %}{{ n.v }}[{{ loop(n.c) }}]{{ loop.depth0 }}{% else %}-{% endfor %})~",
 R"~(1[2[-]1]0)~"},
{R"~({% for x in [1] %}{{ loop([1]) }}{% endfor %})~",
 kError},
{R"~({% set x = 1 %}{% for i in [1,2] %}{{ x }}{% set x = x + 5 %}{{ x }}{% endfor %}{{ x }})~",
 R"~(16161)~"},
{R"~({% for i in [1] %}{{ tools }}{% endfor %}{% set tools = none %}{{ tools }})~",
 R"~(None)~"},
{R"~({% if true %}{% set q = 1 %}{% endif %}{{ q }}|{% if false %}{% set s = 1 %}{% endif %}{{ s }}|{% if false %}{% set s = 1 %}{% else %}{% set s = 2 %}{% endif %}{{ s }})~",
 R"~(1|Hello, World|2)~"},
{R"~({% set ns = namespace(a=1, b="x") %}{% for i in l %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}{{ ns.b }}{{ ns.zz }}{{ ns["a"] }}|{{ ns }})~",
 R"~(7x7|<Namespace {'a': 7, 'b': 'x'}>)~"},
{R"~({% set ns = namespace({"a": 1}, c=2) %}{{ ns.a }}{{ ns.c }}{% set ns.d, ns.e = 1, 2 %}{{ ns.d }}{{ ns.e }})~",
 R"~(1212)~"},
{R"~({% set d.x = 1 %})~",
 kError},
{R"~({% set a, b = 1, 2 %}{{ a }}{{ b }}|{% set c = 1, 2 %}{{ c }}|{% set (p, q) = [3, 4] %}{{ p }}{{ q }})~",
 R"~(12|(1, 2)|34)~"},
{R"~({% set a, b = 1 %})~",
 kError},
{R"~({% set a, b = 1, 2, 3 %})~",
 kError},
{R"~({% set blk %}  text {{ i }} {% endset %}[{{ blk }}]{% set blk | upper | trim %} abc {% endset %}[{{ blk }}])~",
 R"~([  text 7 ][ABC])~"},
{R"~({% set blk %}{% set inner = 5 %}{% endset %}{{ inner }})~",
 R"~()~"},
{R"~({% with a = 1, b = 2 %}{{ a }}{{ b }}{% set a = 9 %}{{ a }}{% endwith %}{{ a }}|{% with %}{{ i }}{% endwith %}|{% set z = 5 %}{% with z = 6, y = z %}{{ z }}{{ y }}{% endwith %})~",
 R"~(129|7|65)~"},
{R"~({% filter upper %}abc {{ s }}{% endfilter %}|{% filter replace("a", "b")|upper %}banana{% endfilter %})~",
 R"~(ABC HELLO, WORLD|BBNBNB)~"},
{R"~({% macro m(a, b=2, c="x") %}{{ a }}-{{ b }}-{{ c }};{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(1, c=4) }}{{ m(b=1, a=2) }}{{ m() }}{{ m(*[1,2]) }}{{ m(**{"a": 5}) }}|{{ m.name }}|{{ m.arguments }})~",
 R"~(1-2-x;1-3-x;1-2-4;2-1-x;-2-x;1-2-x;5-2-x;|m|('a', 'b', 'c'))~"},
{R"~({% macro m(a) %}{{ a is defined }}{{ a }}{% endmacro %}{{ m() }}{{ m(missing) }})~",
 R"~(FalseFalse)~"},
{R"~({% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }})~",
 kError},
{R"~({% macro m(a) %}{{ a }}{% endmacro %}{{ m(z=2) }})~",
 kError},
{R"~({% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, k=4) }}{{ m() }})~",
 R"~(1(2, 3){'k': 4}(){})~"},
{R"~({% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}in {{ i }}{% endcall %}|{% macro n(l) %}{% for x in l %}{{ caller(x, loop.index) }}{% endfor %}{% endmacro %}{% call(x, k=0) n([1,2]) %}<{{ x }}{{ k }}>{% endcall %})~",
 R"~([in 7]|<11><22>)~"},
{R"~({% macro m() %}[{{ caller() }}]{% endmacro %}{{ m() }})~",
 kError},
{R"~({% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}{% call m() %}x{% endcall %})~",
 R"~(FalseTrue)~"},
{R"~({% macro fact(n) %}{% if n <= 1 %}1{% else %}{{ n * (fact(n - 1)|int) }}{% endif %}{% endmacro %}{{ fact(10) }})~",
 R"~(3628800)~"},
{R"~({% macro m() %}{{ gg }}{% endmacro %}{% set gg = 1 %}{{ m() }}{% set gg = 2 %}{{ m() }})~",
 R"~(12)~"},
{R"~({% set gg = 1 %}{% macro m() %}{% set gg = 5 %}{{ gg }}{% endmacro %}{{ m() }}{{ gg }})~",
 R"~(51)~"},
{R"~({% for i in [1,2] %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %})~",
 R"~(12)~"},
{R"~({% macro a(x) %}{{ b(x) }}{% endmacro %}{% macro b(x) %}<{{ x }}>{% endmacro %}{{ a(1) }})~",
 R"~(<1>)~"},
{R"~({% macro m(a, b=a) %}{{ b }}{% endmacro %}{{ m(3) }})~",
 R"~(3)~"},
{R"~({% macro m(a=1, b) %}{% endmacro %})~",
 kError},
{R"~({% set c = cycler("a", "b") %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.next() }})~",
 R"~(ababNonea)~"},
{R"~({% set j = joiner("|") %}{{ j() }}{{ j() }}{{ j() }})~",
 R"~(||)~"},
{R"~({# comment #}a{#- strip -#} b {#- x #} c)~",
 R"~(ab c)~"},
{R"~({% raw %}{{ x }} {% if %}{% endraw %}|{%- raw -%} {{ y }} {%- endraw -%} z)~",
 R"~({{ x }} {% if %}|{{ y }}z)~"},
{R"~(  {% if true %})~",
 kError},
{R"~(  {% endif %})~",
 kError},
{R"~(  {%+ if true %} x {% endif +%})~",
 R"~(   x )~"},
{R"~({%- if true -%}  z  {%- endif -%})~",
 R"~(z)~"},
{R"~(  {# c #})~",
 R"~()~"},
{R"~(d{% if 1 %})~",
 kError},
{R"~({% endif %}e)~",
 kError},
{R"~(a  {%- set x = 1 %}  b)~",
 R"~(a  b)~"},
{R"~({% if 1 %}A{% elif 2 %}B{% else %}C{% endif %}{% if 0 %}A{% elif 2 %}B{% else %}C{% endif %}{% if 0 %}A{% elif 0 %}B{% else %}C{% endif %})~",
 R"~(ABC)~"},
{R"~({% generation %}abc{% set g = 1 %}{% endgeneration %}{{ g }})~",
 R"~(abc)~"},
{R"~({% do [1,2] %}x)~",
 R"~(x)~"},
{R"~({% print 1, 2 %})~",
 R"~(12)~"},
{R"~({% if %})~",
 kError},
{R"~({% endif %})~",
 kError},
{R"~({% if true %})~",
 kError},
{R"~({% unknown %})~",
 kError},
{R"~({% for x in l %}{% endif %})~",
 kError},
{R"~({% break %})~",
 kError},
{R"~({% set none = 1 %})~",
 kError},
{R"~({% for loop in [1] %}{% endfor %})~",
 kError},
{R"~({% for x in [1] %}{% set loop = 1 %}{{ loop }}{% endfor %})~",
 kError},
{R"~({% set messages = msgs %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate') }}{% endif %}{{ message.role }}{% endfor %})~",
 R"~(userassistantuser)~"},
{R"~({% if msgs[0]['role'] == 'system' %}x{% set loop_messages = msgs[1:] %}{% else %}{% set loop_messages = msgs %}{% endif %}{{ loop_messages|length }})~",
 R"~(3)~"},
{R"~({% set x = namespace(v=[]) %}{% for m in msgs %}{% set x.v = x.v + [m.role] %}{% endfor %}{{ x.v }})~",
 R"~(['user', 'assistant', 'user'])~"},
{R"~({% set g = l|map("string") %}{{ g|list }}{{ g|list }})~",
 R"~(['3', '1', '2'][])~"},
{R"~({% set g = l|select("odd") %}{% for a in g %}{{ a }}{% endfor %}{{ g|first }})~",
 R"~(31)~"},
{R"~({%- macro p(o, ind=0) -%}{%- if o is mapping -%}{{ "{" }}{% for k, v in o|dictsort %}{{ "\n" ~ "  " * (ind+1) ~ k ~ ": " ~ p(v, ind+1) }}{% endfor %}{{ "}" }}{%- elif o is sequence and o is not string -%}[{% for v in o %}{{ p(v, ind) }}{{ "," if not loop.last }}{% endfor %}]{%- else -%}{{ o }}{%- endif -%}{%- endmacro -%}{{ p(nested) }}{{ p({"z": [1, [2]], "y": {"q": none}}) }})~",
 R"~({
  a: {
    b: {
      c: [1,{
        d: deep}]}}}{
  y: {
    q: None}
  z: [1,[2]]})~"},
{R"~(  {% if true %}
  a
  {% endif %}
b
)~",
 R"~(  a
b)~"},
{R"~(  {%+ if true %} x {% endif +%}
y)~",
 R"~(   x 
y)~"},
{R"~(a

{%- if true -%}
  z  
{%- endif -%}

b)~",
 R"~(azb)~"},
{R"~(x
  {#- c -#}
 y)~",
 R"~(xy)~"},
{R"~(x
  {# c #}
 y

)~",
 R"~(x
 y
)~"},
{R"~({{ 1 }}
{{ 2 }}
)~",
 R"~(1
2)~"},
{R"~({% for i in [1,2] %}
  {{ i }}
{% endfor %}
end)~",
 R"~(  1
  2
end)~"},
{"a\015\nb\015c{{ 1 }}\015\n",
 R"~(a
b
c1)~"},
{R"~(  {% set x %}
  q
  {% endset %}
[{{ x }}])~",
 R"~([  q
])~"},
{R"~({% raw %}
  {{ a }}
  {% endraw %}
z)~",
 R"~(
  {{ a }}
z)~"},
{" \011{%- if 1 +%}\nx{%+ endif -%}\n y",
 R"~(
xy)~"},
{R"~({{'a'}}
{%- if true %}
 b{% endif %}

 c)~",
 R"~(a b
 c)~"},
{R"~({%if 1%}x{%endif%})~",
 R"~(x)~"},
{R"~({{1}}{{'}}'}}{{ {'a':{'b':1}}.a.b }})~",
 R"~(1}}1)~"},
{R"~({{ '{% if %}' }}{% set a = '%}' %}{{ a }})~",
 R"~({% if %}%})~"},
{R"~(text { { } } %} }})~",
 R"~(text { { } } %} }})~"},
{R"~({)~",
 R"~({)~"},
{R"~({{)~",
 kError},
{R"~({%)~",
 kError},
{R"~({% raw %}x)~",
 kError},
{R"~({{ 'a
b' }}
{{ 1/0 }})~",
 kError},
{R"~(

{{ x.y.z.w }})~",
 kError},
{R"~({% macro m() -%}
  a
  {%- endmacro %}
{{ m() }}|)~",
 R"~(a|)~"},
{"\357\273\277{{ 1 }}",
 "\357\273\2771"},
{R"~({% if 1 %}


x{% endif %}


)~",
 R"~(

x
)~"},
};
// clang-format on

TEST(ChatTemplate, RendersStatementsAsJinja2Does) {
  for (const auto& c : kCases) check_template_case(c);
}

}  // namespace
}  // namespace xylem
