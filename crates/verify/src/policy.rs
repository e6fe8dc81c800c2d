//! Trust policies (C2SP tlog-policy): which logs are known and which witnesses must have cosigned.
//! A policy with an unknown word, a doubled key or an undefined name is refused.

use std::collections::{HashMap, HashSet};

use crate::{KeyAlgorithm, SignedCheckpoint, VerifierKey, WitnessState};

/// Largest policy file read.
pub const POLICY_BYTES_MAX: usize = 64 * 1024;

/// Why a policy is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("policy line {line}: {problem}")]
pub struct PolicyError {
    /// Counted from 1; 0 means the file as a whole.
    pub line: usize,
    /// What is wrong.
    pub problem: String,
}

/// A witness that a policy names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyWitness {
    /// Its name inside the policy.
    pub name: String,
    /// The key that it cosigns with.
    pub key: VerifierKey,
    /// Its submission prefix, where the policy gives one.
    pub url: Option<String>,
}

#[derive(Debug, Clone)]
enum Member {
    Witness(VerifierKey),
    Group { threshold: usize, members: Vec<String> },
}

/// Known logs and the witness quorum.
#[derive(Debug, Clone)]
pub struct Policy {
    logs: Vec<VerifierKey>,
    witnesses: Vec<PolicyWitness>,
    members: HashMap<String, Member>,
    quorum: Option<String>,
    text: String,
}

struct Parser {
    policy: Policy,
    quorum_seen: bool,
    grouped: HashSet<String>,
    public_keys: HashSet<(bool, [u8; 32])>,
}

impl Policy {
    /// Parses a policy file.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let whole = |problem: &str| PolicyError { line: 0, problem: problem.to_owned() };
        if text.len() > POLICY_BYTES_MAX {
            return Err(whole("longer than 64 KiB"));
        }
        let (logs, witnesses) = (Vec::new(), Vec::new());
        let members = HashMap::new();
        let policy = Self { logs, witnesses, members, quorum: None, text: String::new() };
        let mut parser = Parser {
            policy,
            quorum_seen: false,
            grouped: HashSet::new(),
            public_keys: HashSet::new(),
        };
        for (index, line) in text.split('\n').enumerate() {
            let words: Vec<&str> =
                line.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
            if words.first().is_none_or(|word| word.starts_with('#')) {
                continue;
            }
            let line = index + 1;
            parser.line(&words).map_err(|problem| PolicyError { line, problem })?;
            parser.policy.note(&words);
        }
        if !parser.quorum_seen {
            return Err(whole("no quorum line"));
        }
        Ok(parser.policy)
    }

    /// The policy as anybody may see it: without comments, and without addresses.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn note(&mut self, words: &[&str]) {
        let shown = match words {
            ["log", _, ..] => words.get(..2),
            ["witness", _, _, ..] => words.get(..3),
            _ => Some(words),
        };
        self.text.push_str(&shown.unwrap_or_default().join(" "));
        self.text.push('\n');
    }

    /// The logs it accepts; empty when the log is known from elsewhere.
    pub fn logs(&self) -> &[VerifierKey] {
        &self.logs
    }

    /// The witnesses that it names, in their order.
    pub fn witnesses(&self) -> &[PolicyWitness] {
        &self.witnesses
    }

    /// Which witnesses have cosigned, and whether that is enough.
    pub fn evaluate(&self, checkpoint: &SignedCheckpoint) -> WitnessState {
        let mut cosigned = Vec::new();
        let mut known = 0;
        for (name, member) in &self.members {
            if let Member::Witness(key) = member {
                known += 1;
                if key.verify(&checkpoint.note).is_ok() {
                    cosigned.push(name.clone());
                }
            }
        }
        cosigned.sort();
        let met = self.quorum.as_ref().is_none_or(|name| self.witnessed(name, &cosigned));
        WitnessState { required: self.quorum.clone(), known, cosigned, met }
    }

    fn witnessed(&self, name: &str, cosigned: &[String]) -> bool {
        match self.members.get(name) {
            Some(Member::Witness(_)) => cosigned.iter().any(|witness| witness == name),
            Some(Member::Group { threshold, members }) => {
                let count = members.iter().filter(|name| self.witnessed(name, cosigned)).count();
                count >= *threshold
            }
            None => false,
        }
    }
}

impl Parser {
    fn line(&mut self, words: &[&str]) -> Result<(), String> {
        match words {
            ["log", key] | ["log", key, _] => {
                let key = self.key(key, KeyAlgorithm::Ed25519)?;
                self.policy.logs.push(key);
                Ok(())
            }
            ["witness", name, key, rest @ ..] if rest.len() < 2 => {
                let key = self.key(key, KeyAlgorithm::CosignatureV1)?;
                self.define(name, Member::Witness(key.clone()))?;
                let url = rest.first().map(|url| (*url).to_owned());
                let name = (*name).to_owned();
                self.policy.witnesses.push(PolicyWitness { name, key, url });
                Ok(())
            }
            ["group", name, threshold, members @ ..] if !members.is_empty() => {
                let members = self.members(members)?;
                let threshold = match *threshold {
                    "any" => 1,
                    "all" => members.len(),
                    number => number.parse().map_err(|_| format!("threshold {number}"))?,
                };
                if threshold == 0 || threshold > members.len() {
                    return Err(format!("threshold {threshold} of {} members", members.len()));
                }
                self.define(name, Member::Group { threshold, members })
            }
            ["quorum", name] => {
                if std::mem::replace(&mut self.quorum_seen, true) {
                    return Err("a second quorum line".to_owned());
                }
                if *name != "none" {
                    if !self.policy.members.contains_key(*name) {
                        return Err(format!("{name} is not defined above"));
                    }
                    self.policy.quorum = Some((*name).to_owned());
                }
                Ok(())
            }
            _ => Err("expected log, witness, group or quorum with their arguments".to_owned()),
        }
    }

    fn key(&mut self, text: &str, algorithm: KeyAlgorithm) -> Result<VerifierKey, String> {
        let key: VerifierKey = text.parse().map_err(|error: crate::NoteError| error.to_string())?;
        if key.algorithm() != algorithm {
            return Err("the key has the wrong signature type for its use".to_owned());
        }
        if !self.public_keys.insert((algorithm == KeyAlgorithm::Ed25519, *key.public())) {
            return Err("the same key is listed twice".to_owned());
        }
        Ok(key)
    }

    fn members(&mut self, names: &[&str]) -> Result<Vec<String>, String> {
        let mut members = Vec::with_capacity(names.len());
        for name in names {
            if !self.policy.members.contains_key(*name) {
                return Err(format!("{name} is not defined above"));
            }
            if !self.grouped.insert((*name).to_owned()) {
                return Err(format!("{name} is in a group already"));
            }
            members.push((*name).to_owned());
        }
        Ok(members)
    }

    fn define(&mut self, name: &str, member: Member) -> Result<(), String> {
        if name == "none" || self.policy.members.contains_key(name) {
            return Err(format!("{name} is defined already"));
        }
        self.policy.members.insert(name.to_owned(), member);
        Ok(())
    }
}
