"""Keys are shown as TOML writes them, and found on their lines."""

from orlop.config.keys import Where, locate, origin_of, show

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
        (*IMAGES, "literal", "inner"): 6,
        (*IMAGES, "text"): 7,
        (*IMAGES, "after"): 11,
        (*IMAGES, "same"): 15,
        (*IMAGES, "literal_text"): 16,
        ("array",): 20,
        ("array", "of"): 20,
        ("array", "of", "tables"): 20,
        ("array", "of", "tables", "0"): 20,
        ("array", "of", "tables", "0", "name"): 21,
    }


def test_lines_end_as_toml_says() -> None:
    assert locate("a = 1\r\nb = '\u2028'\r\nc = 3\r\n") == {("a",): 1, ("b",): 2, ("c",): 3}


def test_the_origin_falls_back_to_the_table_around() -> None:
    origins = {("a",): Where("x", 3, ("old",)), ("a", "b"): Where("y", 4, ("c",))}
    assert origin_of(("a", "b"), origins) == Where("y", 4, ("c",))
    assert origin_of(("a", "n", "m"), origins) == Where("x", 3, ("old", "n", "m"))
    assert str(origin_of(("nothing",), origins)) == ""


def test_show_quotes_what_is_not_bare() -> None:
    assert show((*IMAGES, "a-b_1")) == 'plugins."io.containerd.cri.v1.images".a-b_1'


def test_show_hides_credentials_in_a_name() -> None:
    assert show(("auths", "https://user:secret@host/v1")) == 'auths."https://***@host/v1"'
