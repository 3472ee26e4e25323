//! What goes on with the answers that there are, in words for whoever has to do it.

/// A command, or else options of the one that was given.
#[derive(Debug, Default)]
pub(super) struct Again(Option<String>);

impl Again {
    pub(super) fn by(command: String) -> Self {
        Self(Some(command))
    }

    /// Whoever has vouched for answers has to do so again, until it is written whose they are.
    pub(super) fn command(&self, must_vouch: bool) -> String {
        let vouch = if must_vouch { " --unchecked" } else { "" };
        format!("{}{vouch}", self.0.as_deref().unwrap_or("--resume"))
    }

    /// "--resume goes on with what is missing"
    pub(super) fn hint(&self, must_vouch: bool) -> String {
        let command = self.command(must_vouch);
        let command = if self.0.is_some() { format!("`{command}`") } else { command };
        format!("{command} goes on with what is missing")
    }
}
