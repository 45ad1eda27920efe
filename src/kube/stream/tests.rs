//! JSON that is held is read as JSON that is streamed: the same objects, and of broken texts the same fault at the same place, give or take the
//! one byte that a streaming reader looks ahead.

use std::fmt::Write as _;

use super::*;

/// What is read of a text: held as a whole, or of which the first `most` bytes are held.
fn read_with(text: &[u8], most: u64) -> (String, Result<(), StreamError>) {
    let mut shown = String::new();
    let read = match Input::open(text, most) {
        Ok(Input::Held { text, skipped }) => each_held(&text, skipped, |it: Document<&RawValue>| {
            let _ = write!(shown, "{:?}", it.objects);
        }),
        Ok(Input::Json { start, rest, skipped }) => {
            each_streamed(&start, rest, skipped, |it: Document<Box<RawValue>>| {
                let _ = write!(shown, "{:?}", it.objects);
            })
        }
        Ok(Input::Yaml { .. }) => Ok(()),
        Err(error) => Err(error),
    };
    (shown, read)
}

/// Where in the text a fault is.
fn offset(text: &[u8], error: &StreamError) -> usize {
    let before: usize =
        text.split_inclusive(|&byte| byte == b'\n').take(error.line.saturating_sub(1)).map(<[u8]>::len).sum();
    before + error.column
}

fn agree(text: &[u8]) {
    let ((held, one), (streamed, other)) = (read_with(text, u64::MAX), read_with(text, 7));
    let shown = String::from_utf8_lossy(text);
    assert_eq!(held, streamed, "{shown}");
    match (&one, &other) {
        (Ok(()), Ok(())) => {}
        (Err(one), Err(other)) => {
            assert_eq!(one.message, other.message, "{shown}");
            assert!(offset(text, one).abs_diff(offset(text, other)) <= 1, "{one:?} {other:?} {shown}");
        }
        _ => panic!("{one:?} {other:?} {shown}"),
    }
}

const EXPORT: &str = r#"
 {"apiVersion": "v1", "kind": "List",
  "items": [
    {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n\u00e9", "labels": {"zone": "ä"}, "managedFields":
      [{"time": "2026-01-01T00:02:00Z"}]}},
    {"kind": "Pod", "metadata": {"name": "p", "labels": {"a": 1, "b": true}},
     "spec": {"containers": [{"resources": {"limits": {"cpu": "1", "nvidia.com/mig-1g.10gb": 1}}}]}},
    {"kind": "Pod", "metadata": {"name": 7}}, 7, {"kind": []}, {"metadata": {"name": "nobody"}},
    {"kind": "PodList", "items": [{"metadata": {"name": "q", "creationTimestamp": "2026-01-02T00:02:00Z"}}]}
  ], "metadata": {"resourceVersion": ""}
 }
 {"kind": "Pod", "metadata": {"name": "r"}}
"#;

#[test]
fn what_is_held_is_read_as_what_is_streamed() {
    agree(EXPORT.as_bytes());
    assert_eq!(read_with(EXPORT.as_bytes(), u64::MAX).1, Ok(()));
    for text in ["{}", "[]", "{\"items\": 7}", "[1, null]", "{\"kind\": \"Pod\"}{", "{\"kind\": \"Pod\"}x", "[\n\n,"] {
        agree(text.as_bytes());
    }
}

#[test]
fn what_is_cut_off_is_so_at_the_same_place() {
    (0..EXPORT.len()).for_each(|end| agree(&EXPORT.as_bytes()[..end]));
}

#[test]
fn what_is_broken_is_so_at_the_same_place() {
    for at in 0..EXPORT.len() {
        for byte in *b"\"{}[],:x0\n\\\xC3\x01" {
            let mut text = EXPORT.as_bytes().to_vec();
            text[at] = byte;
            agree(&text);
        }
    }
}
