//! One object of the source, held until its kind is known.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::kube::objects::{Stamps, Text};

/// What every object says of itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Header {
    #[serde(default)]
    pub(super) api_version: Text,
    #[serde(default)]
    pub(super) kind: Text,
}

/// The moments in an object's metadata.
#[derive(Deserialize, Default)]
struct Stamped {
    #[serde(default)]
    metadata: Stamps,
}

/// A value of the source that can be read into a structure, again and again.
pub(super) trait Whole {
    /// Reads the value, naming the field that does not fit.
    fn read<T: DeserializeOwned>(&self) -> Result<T, String>;

    /// The value as JSON text.
    fn text(&self) -> String;

    /// What an object says of itself, with the newest moment of its metadata.
    fn head(&self) -> Result<(Header, Option<i64>), String> {
        let header = self.read()?;
        Ok((header, self.read::<Stamped>().ok().and_then(|stamped| stamped.metadata.newest())))
    }
}

/// One value of the source, not yet read into a structure.
pub(super) trait Raw: Whole + Sized {
    /// A value that was put together from several of the source.
    type Made: Whole;

    /// Makes an object from its members.
    fn assemble(members: Vec<(String, Self)>) -> Result<Self::Made, String>;
}

/// Header and metadata of an object in text, found in one pass over it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    #[serde(default)]
    api_version: Text,
    #[serde(default)]
    kind: Text,
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
}

impl Whole for RawValue {
    fn read<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_str(self.get()).map_err(|_| {
            let mut deserializer = serde_json::Deserializer::from_str(self.get());
            explain(serde_path_to_error::deserialize::<_, T>(&mut deserializer).map(drop))
        })
    }

    fn text(&self) -> String {
        self.get().to_owned()
    }

    fn head(&self) -> Result<(Header, Option<i64>), String> {
        let Ok(Head { api_version, kind, metadata }) = serde_json::from_str(self.get()) else {
            // What is wrong with the metadata is for whoever reads it to say.
            let header = self.read()?;
            return Ok((header, None));
        };
        let stamps = metadata.and_then(|metadata| serde_json::from_str::<Stamps>(metadata.get()).ok());
        Ok((Header { api_version, kind }, stamps.and_then(|stamps| stamps.newest())))
    }
}

impl Whole for Box<RawValue> {
    fn read<T: DeserializeOwned>(&self) -> Result<T, String> {
        RawValue::read(self)
    }

    fn text(&self) -> String {
        RawValue::text(self)
    }

    fn head(&self) -> Result<(Header, Option<i64>), String> {
        RawValue::head(self)
    }
}

impl Whole for &RawValue {
    fn read<T: DeserializeOwned>(&self) -> Result<T, String> {
        RawValue::read(self)
    }

    fn text(&self) -> String {
        RawValue::text(self)
    }

    fn head(&self) -> Result<(Header, Option<i64>), String> {
        RawValue::head(self)
    }
}

impl Raw for Box<RawValue> {
    type Made = Self;

    fn assemble(members: Vec<(String, Self)>) -> Result<Self, String> {
        joined(members.iter().map(|(key, value)| (key.as_str(), value.get())))
    }
}

impl Raw for &RawValue {
    type Made = Box<RawValue>;

    fn assemble(members: Vec<(String, Self)>) -> Result<Box<RawValue>, String> {
        joined(members.iter().map(|(key, value)| (key.as_str(), value.get())))
    }
}

fn joined<'a>(members: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Box<RawValue>, String> {
    let mut text = String::from("{");
    for (position, (key, value)) in members.enumerate() {
        if position > 0 {
            text.push(',');
        }
        text.push_str(&serde_json::Value::from(key).to_string());
        text.push(':');
        text.push_str(value);
    }
    text.push('}');
    RawValue::from_string(text).map_err(|error| error.to_string())
}

impl Whole for serde_json::Value {
    fn read<T: DeserializeOwned>(&self) -> Result<T, String> {
        T::deserialize(self).map_err(|_| explain(serde_path_to_error::deserialize::<_, T>(self).map(drop)))
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Raw for serde_json::Value {
    type Made = Self;

    fn assemble(members: Vec<(String, Self)>) -> Result<Self, String> {
        Ok(Self::Object(members.into_iter().collect()))
    }
}

fn explain(result: Result<(), serde_path_to_error::Error<serde_json::Error>>) -> String {
    match result {
        Ok(()) => "cannot be read".to_owned(),
        Err(error) => {
            let path = error.path().to_string();
            let message = error.into_inner().to_string();
            let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
            let message = in_plain_words(message);
            if path == "." { message } else { format!("{path}: {message}") }
        }
    }
}

/// Says what was expected without the names of our own types.
fn in_plain_words(message: String) -> String {
    match message.split_once("expected struct ") {
        Some((start, _)) => format!("{start}expected an object"),
        None => ["i64", "u32", "u8"].iter().fold(message, |message, number| {
            message.replace(&format!("expected {number}"), "expected a whole number within its range")
        }),
    }
}
