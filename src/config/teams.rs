//! Teams: whose session counts for whom, by the user's e-mail address.

use globset::{GlobBuilder, GlobMatcher};

use super::Config;

/// A pattern of addresses, which have no case.
pub(super) fn pattern(text: &str) -> Result<GlobMatcher, globset::Error> {
    Ok(GlobBuilder::new(text).case_insensitive(true).build()?.compile_matcher())
}

impl Config {
    /// The team of an e-mail address: one that names the address itself, or else the first whose pattern fits,
    /// by the teams' names.
    pub fn team(&self, email: &str) -> Option<&str> {
        let fits = |text: &str| pattern(text).is_ok_and(|pattern| pattern.is_match(email));
        let named = self.teams.iter().find(|(_, all)| all.iter().any(|one| one.eq_ignore_ascii_case(email)));
        let found = named.or_else(|| self.teams.iter().find(|(_, all)| all.iter().any(|one| fits(one))));
        found.map(|(name, _)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn an_address_itself_comes_before_a_pattern_and_patterns_go_by_the_teams_names() {
        let config = Config::parse(
            "[teams]\nresearch = [\"*@lab.example.org\"]\nbilling = [\"*@*.example.org\", \"Eve@Lab.example.org\"]\nall-hands = [\"ada@lab.example.org\"]",
        )
        .expect("a configuration");
        for (email, team) in [
            ("ada@lab.example.org", Some("all-hands")),
            ("eve@lab.example.org", Some("billing")),
            ("bob@lab.example.org", Some("billing")),
            ("BOB@LAB.EXAMPLE.ORG", Some("billing")),
            ("bob@example.org", None),
            ("bob@lab.example.org.evil.net", None),
        ] {
            assert_eq!(config.team(email), team, "{email}");
        }
    }
}
