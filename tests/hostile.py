"""What is written by those who want others' browsers to run it, as descriptions of projects.

Each calls ``pwned`` where it runs; what it loads is at OUTSIDE.
"""

from __future__ import annotations

OUTSIDE = "//outside.invalid/"

HTML = [  # as it may stand in a Markdown description
    "<script>pwned('script')</script>",
    "<img src=x onerror=pwned('img')>",
    "<img src=x alt=\"<img src onerror=pwned('alt')>\">",
    f"<img src=https:{OUTSIDE}x.png alt=\"<img src onerror=pwned('alt')>\">",
    "<a href=https://example.org><img src=x alt=\"<img src onerror=pwned('alt')>\"></a>",
    "<abbr title=\"<img src onerror=pwned('title')>\">x</abbr>",
    "<svg onload=pwned('svg')><script>pwned('svg')</script><a xlink:href=javascript:pwned(1)>x</a>",
    "<svg><foreignObject><iframe srcdoc=\"<script>parent.pwned('a')</script>\"></iframe></svg>",
    "<svg><animate onbegin=pwned('svg') attributeName=x dur=1s><set onbegin=pwned('svg')></svg>",
    "<math href=javascript:pwned('math')>x</math>",
    f"<base href={OUTSIDE}><a href=x>x</a>",
    f"<meta http-equiv=refresh content=0;url={OUTSIDE}>",
    f"<form action={OUTSIDE} id=find><button formaction=javascript:pwned(1)>x</button></form>",
    "<input autofocus onfocus=pwned('focus') name=form_token><textarea autofocus onfocus=pwned(1)>",
    "<iframe src=javascript:pwned('frame') srcdoc=\"<script>parent.pwned('a')</script>\"></iframe>",
    f"<object data=\"data:text/html,<script>pwned('a')</script>\"></object><embed src={OUTSIDE}>",
    f"<style>@import '{OUTSIDE}x.css'; main {{ display: none }}</style>",
    f"<link rel=stylesheet href={OUTSIDE}x.css><link rel=prefetch href={OUTSIDE}>",
    f"<p style='background:url({OUTSIDE});position:fixed;inset:0' onclick=pwned('click')>x</p>",
    f"<video src={OUTSIDE} poster={OUTSIDE} autoplay onloadstart=pwned('video')></video>",
    f"<audio src={OUTSIDE} onerror=pwned('audio')><picture><source srcset={OUTSIDE}></picture>",
    f"<table background={OUTSIDE}><td background={OUTSIDE}>x</table><body background={OUTSIDE}>",
    "<details open ontoggle=pwned('toggle')>x</details><marquee onstart=pwned('marquee')>x",
    "<p id=main class='banner error'>x</p><a id=find name=form_token class=button href=//x>x</a>",
    "<p id=user-content-main name=attributes class=readme>x</p><p contenteditable accesskey=s>x",
    # What is read otherwise the second time.
    "<noscript><p title=\"</noscript><img src=x onerror=pwned('noscript')>\">",
    "<svg></p><style><a id=\"</style><img src=1 onerror=pwned('style')>\">",
    '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 '
    "onerror=pwned('mglyph')&gt;\">",
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror=pwned('form')>",
    "<template><s><template></s><script>pwned('template')</script>",
    "<select><style></select><img src onerror=pwned('select')></style>",
    "<svg><p><style><g title=\"</style><img src onerror=pwned('g')>\">",
    "<svg><desc><xmp></desc></svg><img src onerror=pwned('xmp')></xmp>",
    *(
        f"<{tag}><p title=\"</{tag}><img src onerror=pwned('{tag}')>\"></{tag}>"
        for tag in ("xmp", "noembed", "noframes", "plaintext", "textarea", "title", "listing")
    ),
    "<!--><img src onerror=pwned('comment')>--><!--!><img src onerror=pwned('comment')>-->",
    "<![CDATA[><img src onerror=pwned('cdata')>]]><?x ><img src onerror=pwned('cdata')>?>",
    "<a href=\"https://x.invalid/&quot;onfocus=pwned('quote') autofocus x=\">x</a>",
    "```html\n<script>pwned('code')</script>\n```\n``<script>pwned('code')</script>``",
]
TARGETS = [  # of links, each in every form that a link has
    "javascript:pwned('link')",
    "JaVaScRiPt&colon;pwned('link')",
    "java&Tab;script:pwned('link')",
    "java&NewLine;script:pwned('link')",
    "&#1;javascript:pwned('link')",
    "&#x6A;avascript&#58;pwned('link')",
    "\x01javascript:pwned('link')",
    "javascript&#0;:pwned('link')",
    "%6aavascript:pwned('link')",
    "vbscript:pwned('link')",
    "data:text/html,<script>pwned('link')</script>",
    "data:image/svg+xml,<svg onload=pwned('link')>",
    "data:text/html;base64,PHNjcmlwdD5wd25lZCgxKTwvc2NyaXB0Pg==",
    "blob:https://x.invalid/1",
    "filesystem:https://x.invalid/1",
    "file:///etc/passwd",
    "//outside.invalid/",
    "/dashboard/logout",
    "?tab=files",
]
FORMS = [
    *("[x]({})", "[x](<{}>)", "<{}>", "[x][y]\n\n[y]: {}", "![x]({})", "[![x](x.png)]({})"),
    *('<a href="{}">x</a>', "<a href=' {}'>x</a>", '<img src="{}">', '<q cite="{}">x</q>'),
]
RST_FORMS = [
    *("`x <{}>`_", "x__\n\n__ {}", "x_\n\n.. _x: {}", ".. image:: {}", "|x|\n\n.. |x| image:: {}"),
    *(".. image:: x.png\n   :target: {}", ".. figure:: x.png\n   :target: {}\n", "see {} there"),
]
RST = [
    ".. raw:: html\n\n   <script>pwned('raw')</script>",
    ".. role:: raw-html(raw)\n   :format: html\n\n:raw-html:`<script>pwned('role')</script>`",
    ".. include:: /etc/passwd",
    ".. include:: <isonum.txt>",
    ".. include:: /etc/passwd\n   :code:",
    ".. csv-table::\n   :file: /etc/passwd",
    ".. csv-table::\n   :url: file:///etc/passwd",
    ".. literalinclude:: /etc/passwd",
    ".. code:: html\n   :file: /etc/passwd\n\n   <script>pwned('code')</script>",
    ".. image:: x.svg\n   :class: banner\n   :name: main\n   :alt: <script>pwned('alt')</script>",
    f".. image:: https:{OUTSIDE}x.mp4",
    f".. image:: https:{OUTSIDE}x.swf",
    ".. container:: banner error\n   :name: main\n\n   x",
    ".. class:: banner error\n\nx",
    ".. role:: banner\n\n:banner:`x`",
    f".. meta::\n   :http-equiv=refresh: 0;url={OUTSIDE}",
    f".. math::\n\n   \\href{{javascript:pwned(1)}}{{x}} <img src={OUTSIDE}x>",
    ".. parsed-literal::\n\n   `x <javascript:pwned(1)>`_ <script>pwned(1)</script>",
    ".. title:: </title><script>pwned('title')</script>",
    ".. topic:: <script>pwned('topic')</script>\n\n   x",
    ":<script>pwned('field')</script>: <script>pwned('field')</script>",
    ".. |x| unicode:: 0x3C script 0x3E\n\n|x|",
    "<script>pwned('text')</script> ``<script>pwned('literal')</script>``",
]
DESCRIPTIONS = {  # content type -> groups of descriptions, of which each is tame for itself
    "text/markdown": [
        *([each] for each in HTML),
        *([each.format(target) for target in TARGETS] for each in FORMS),
    ],
    "text/x-rst": [
        *([each] for each in RST),
        *([each.format(target) for target in TARGETS] for each in RST_FORMS),
    ],
}
