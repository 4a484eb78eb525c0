"""Keys are shown as TOML writes them, and found on their lines."""

from orlop.config.keys import line_of, locate, show

DOCUMENT = '''\
version = 3
[plugins."io.containerd.cri.v1.images"]  # comment
  snapshotter = "native"
  registry.config_path = "/x"
  "quoted \\"key\\"" = 1
  'literal' = { inner = 1 }
  text = """
version = 99
[other]
"""
  after = [
    "a = b",
    "c",
  ]
  same = """one line"""
  literal_text = \'\'\'
hidden = 1 """
\'\'\'

[[array.of.tables]]
name = "x"
'''

IMAGES = ("plugins", "io.containerd.cri.v1.images")


def test_locate() -> None:
    assert locate(DOCUMENT) == {
        ("version",): 1,
        ("plugins",): 2,
        IMAGES: 2,
        (*IMAGES, "snapshotter"): 3,
        (*IMAGES, "registry"): 4,
        (*IMAGES, "registry", "config_path"): 4,
        (*IMAGES, 'quoted "key"'): 5,
        (*IMAGES, "literal"): 6,
        (*IMAGES, "text"): 7,
        (*IMAGES, "after"): 11,
        (*IMAGES, "same"): 15,
        (*IMAGES, "literal_text"): 16,
        ("array",): 20,
        ("array", "of"): 20,
        ("array", "of", "tables"): 20,
        ("array", "of", "tables", "name"): 21,
    }


def test_lines_end_as_toml_says() -> None:
    assert locate("a = 1\r\nb = '\u2028'\r\nc = 3\r\n") == {("a",): 1, ("b",): 2, ("c",): 3}


def test_line_of_falls_back_to_the_table_around() -> None:
    lines = locate(DOCUMENT)
    assert line_of((*IMAGES, "literal", "inner"), lines) == 6
    assert line_of((*IMAGES, "absent"), lines) == 2
    assert line_of(("nothing",), lines) == 0


def test_show_quotes_what_is_not_bare() -> None:
    assert show((*IMAGES, "a-b_1")) == 'plugins."io.containerd.cri.v1.images".a-b_1'


def test_show_hides_credentials_in_a_name() -> None:
    assert show(("auths", "https://user:secret@host/v1")) == 'auths."https://***@host/v1"'
