//! Path templates such as `/items/{id}:check`.

/// Part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Name(String),
}

/// A template with at least one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

impl Template {
    /// Reads a template; `None` when the path names nothing, and stands for itself.
    ///
    /// # Errors
    /// Text, for braces that do not pair up, empty names, and names without anything between them.
    pub(super) fn parse(path: &str) -> Result<Option<Self>, String> {
        let mut parts = Vec::new();
        let mut rest = path;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else {
                return Err(format!("the path {path} has an opening brace without a closing one"));
            };
            if name.is_empty() || name.contains(['{', '/']) {
                return Err(format!("the path {path} has a malformed name between braces"));
            }
            if !before.is_empty() {
                parts.push(Part::Literal(before.to_owned()));
            } else if matches!(parts.last(), Some(Part::Name(_))) {
                return Err(format!("the path {path} has two names with nothing between them"));
            }
            parts.push(Part::Name(name.to_owned()));
            rest = after;
        }
        if parts.is_empty() {
            return Ok(None);
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Ok(Some(Self(parts)))
    }

    /// The values of the names, when `path` matches. A name stands for one or more characters other than `/`
    /// and other than the first character of the text that follows it.
    pub(super) fn matches(&self, path: &str) -> Option<Vec<(String, String)>> {
        let mut values = Vec::new();
        let mut rest = path;
        let mut parts = self.0.iter().peekable();
        while let Some(part) = parts.next() {
            match part {
                Part::Literal(text) => rest = rest.strip_prefix(text.as_str())?,
                Part::Name(name) => {
                    let stop = match parts.peek() {
                        Some(Part::Literal(text)) => text.chars().next(),
                        _ => None,
                    };
                    let end = rest.find(|c| c == '/' || Some(c) == stop).unwrap_or(rest.len());
                    let (value, after) = rest.split_at_checked(end)?;
                    if value.is_empty() {
                        return None;
                    }
                    values.push((name.clone(), value.to_owned()));
                    rest = after;
                }
            }
        }
        rest.is_empty().then_some(values)
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn matched(template: &str, path: &str) -> Option<Vec<String>> {
        let template = Template::parse(template).expect("well-formed").expect("has names");
        template.matches(path).map(|values| values.into_iter().map(|(_, value)| value).collect())
    }

    #[test]
    fn matches_whole_segments_and_parts_of_them() {
        let values = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect());
        assert_eq!(matched("/items/{id}", "/items/a%20b"), values(&["a%20b"]));
        assert_eq!(matched("/items/{id}", "/items/"), None);
        assert_eq!(matched("/items/{id}", "/items/a/b"), None);
        assert_eq!(matched("/{a}/{b}", "/x/y"), values(&["x", "y"]));
        assert_eq!(matched("/items/{id}:check", "/items/7:check"), values(&["7"]));
        assert_eq!(matched("/items/{id}:check", "/items/7:8:check"), None);
        assert_eq!(matched("/items/{id}:check", "/items/7"), None);
        assert_eq!(Template::parse("/items"), Ok(None));
        for malformed in ["/{a", "/{}", "/{a}{b}", "/{a/b}", "/{a{b}}"] {
            assert!(Template::parse(malformed).is_err(), "{malformed}");
        }
    }
}
