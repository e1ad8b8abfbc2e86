//! What each field of a request takes, in words: read off the API's own document, so that a refusal and the
//! document say the same.

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::Value;

/// By the field's path in a body (`user.email`), or the parameter's name.
static FIELDS: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    let document = serde_json::to_value(super::openapi()).unwrap_or_default();
    let mut fields = BTreeMap::new();
    let operations = document["paths"].as_object().into_iter().flat_map(|paths| paths.values());
    for operation in operations.filter_map(Value::as_object).flat_map(|methods| methods.values()) {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap_or_default();
            fields.insert(name.to_owned(), words(&document, &parameter["schema"]));
        }
        let body = &operation["requestBody"]["content"]["application/json"]["schema"];
        properties("", &document, body, &mut fields);
    }
    fields
});

/// What this field takes, as an order: `give a whole number from 1 to 1000`.
pub(super) fn allowed(field: &str) -> Option<&'static str> {
    // An entry of a list takes what the list says.
    let field = field.split('[').next().unwrap_or_default();
    FIELDS.get(field).map(String::as_str)
}

fn properties(prefix: &str, document: &Value, schema: &Value, fields: &mut BTreeMap<String, String>) {
    for (name, property) in resolve(document, schema)["properties"].as_object().into_iter().flatten() {
        let path = format!("{prefix}{name}");
        properties(&format!("{path}."), document, property, fields);
        fields.insert(path, words(document, property));
    }
}

/// The schema that is meant, past references and the choice of nothing.
fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return resolve(document, &document["components"]["schemas"][name]);
    }
    let choices = schema["oneOf"].as_array().into_iter().flatten();
    match choices.into_iter().find(|choice| choice["type"] != "null") {
        Some(choice) => resolve(document, choice),
        None => schema,
    }
}

fn words(document: &Value, schema: &Value) -> String {
    let schema = resolve(document, schema);
    if let Some(names) = schema["enum"].as_array() {
        let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
        return format!("give {}", names.join(" or "));
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null"),
        kind => kind.as_str(),
    };
    match kind {
        Some("boolean") => "give true or false".to_owned(),
        Some("integer" | "number") => match (schema["minimum"].as_f64(), schema["maximum"].as_f64()) {
            (least, Some(most)) => format!("give a whole number from {} to {most}", least.unwrap_or(0.0)),
            (least, None) => format!("give a whole number, {} or more", least.unwrap_or(0.0)),
        },
        Some("string") => match schema["maxLength"].as_u64() {
            Some(most) => format!("give a text of at most {most} characters"),
            None => "give a text".to_owned(),
        },
        Some("array") => "give a list of texts".to_owned(),
        _ => "give an object".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_says_what_fields_take() {
        for (field, words) in [
            ("cols", "give a whole number from 1 to 1000"),
            ("ttl_s", "give a whole number, 1 or more"),
            ("user", "give an object"),
            ("user.email", "give a text"),
            ("note", "give a text of at most 200 characters"),
            ("program", "give a list of texts"),
            ("program[0]", "give a list of texts"),
            ("consent", "give true or false"),
            ("role", "give driver or observer"),
            ("timeout_s", "give a whole number from 0 to 300"),
        ] {
            assert_eq!(allowed(field), Some(words), "{field}");
        }
        assert_eq!(allowed("nonsense"), None);
    }
}
