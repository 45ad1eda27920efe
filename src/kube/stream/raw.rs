//! One object of the source, held until its kind is known.

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// One value of the source, not yet read into a structure.
pub(super) trait Raw: DeserializeOwned {
    /// Reads the value, naming the field that does not fit.
    fn read<T: DeserializeOwned>(&self) -> Result<T, String>;
    /// Makes an object from its members.
    fn assemble(members: Vec<(String, Self)>) -> Result<Self, String>;
    /// The value as JSON text.
    fn text(&self) -> String;
}

impl Raw for Box<RawValue> {
    fn read<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_str(self.get()).map_err(|_| {
            let mut deserializer = serde_json::Deserializer::from_str(self.get());
            explain(serde_path_to_error::deserialize::<_, T>(&mut deserializer).map(drop))
        })
    }

    fn assemble(members: Vec<(String, Self)>) -> Result<Self, String> {
        let mut text = String::from("{");
        for (position, (key, value)) in members.iter().enumerate() {
            if position > 0 {
                text.push(',');
            }
            text.push_str(&serde_json::Value::from(key.as_str()).to_string());
            text.push(':');
            text.push_str(value.get());
        }
        text.push('}');
        RawValue::from_string(text).map_err(|error| error.to_string())
    }

    fn text(&self) -> String {
        self.get().to_owned()
    }
}

impl Raw for serde_json::Value {
    fn read<T: DeserializeOwned>(&self) -> Result<T, String> {
        T::deserialize(self).map_err(|_| explain(serde_path_to_error::deserialize::<_, T>(self).map(drop)))
    }

    fn assemble(members: Vec<(String, Self)>) -> Result<Self, String> {
        Ok(Self::Object(members.into_iter().collect()))
    }

    fn text(&self) -> String {
        self.to_string()
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
