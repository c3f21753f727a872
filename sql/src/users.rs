//! CREATE, ALTER and DROP USER, SHOW USERS.
//!
//! ```text
//! CREATE USER [IF NOT EXISTS] name PASSWORD '…' ROLE reader|writer|admin
//! ALTER USER [IF EXISTS] name [PASSWORD '…'] [ROLE reader|writer|admin]
//! DROP USER [IF EXISTS] name, …
//! ```
//!
//! The parser knows other clauses under these names, so [`parse`] reads the tokens itself and gives
//! the parser's trees. A password may be a parameter. No message repeats what stands in the text
//! behind the name: it may be a password.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::helpers::key_value_options::{
    KeyValueOption, KeyValueOptionKind, KeyValueOptions, KeyValueOptionsDelimiter,
};
use datafusion::sql::sqlparser::ast::{
    AlterUser, CreateUser, Ident, ObjectName, ObjectType, Statement, Value,
};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use silt_catalog::Role;

use crate::dml::fold;
use crate::parse::position;
use crate::planner::{Binding, Bound};
use crate::{Error, Result, Shared, StatementResult, ddl, password};

const PASSWORD: &str = "PASSWORD";
const ROLE: &str = "ROLE";

/// A change of users, ready to be made.
pub(crate) enum UserChange {
    Create { name: String, if_not_exists: bool, role: Role, password: Password },
    Alter { name: String, if_exists: bool, role: Option<Role>, password: Option<Password> },
    Drop { names: Vec<String>, if_exists: bool },
}

/// A password on its way to its verifier. Has no `Debug`.
pub(crate) struct Password(String);

/// The tree of a statement about users; none for others.
///
/// # Errors
/// `Invalid` with the place where the statement is not one of the forms above.
pub(crate) fn parse(tokens: &[TokenWithSpan]) -> Result<Option<Statement>> {
    let mut reader = Reader { tokens, next: 0 };
    let verb = ["CREATE", "ALTER", "DROP"].into_iter().find(|verb| reader.word(verb));
    let (Some(verb), true) = (verb, reader.word("USER")) else { return Ok(None) };
    let statement = match verb {
        "CREATE" => {
            let if_not_exists = reader.words(&["IF", "NOT", "EXISTS"]);
            let name = reader.name()?;
            let options = reader.options()?;
            Statement::CreateUser(CreateUser {
                or_replace: false,
                if_not_exists,
                name,
                options,
                with_tags: false,
                tags: key_values(Vec::new()),
            })
        }
        "ALTER" => {
            let if_exists = reader.words(&["IF", "EXISTS"]);
            let name = reader.name()?;
            let options = reader.options()?;
            Statement::AlterUser(altered(name, if_exists, options))
        }
        _ => {
            let if_exists = reader.words(&["IF", "EXISTS"]);
            let mut names = vec![ObjectName::from(vec![reader.name()?])];
            while reader.take(|token| *token == Token::Comma).is_some() {
                names.push(ObjectName::from(vec![reader.name()?]));
            }
            reader.end("a comma or the end")?;
            Statement::Drop {
                object_type: ObjectType::User,
                if_exists,
                names,
                cascade: false,
                restrict: false,
                purge: false,
                temporary: false,
                table: None,
            }
        }
    };
    Ok(Some(statement))
}

fn key_values(options: Vec<KeyValueOption>) -> KeyValueOptions {
    KeyValueOptions { options, delimiter: KeyValueOptionsDelimiter::Space }
}

fn altered(name: Ident, if_exists: bool, set_props: KeyValueOptions) -> AlterUser {
    AlterUser {
        if_exists,
        name,
        set_props,
        rename_to: None,
        reset_password: false,
        abort_all_queries: false,
        add_role_delegation: None,
        remove_role_delegation: None,
        enroll_mfa: false,
        set_default_mfa_method: None,
        remove_mfa_method: None,
        modify_mfa_method: None,
        add_mfa_method_otp: None,
        set_policy: None,
        unset_policy: None,
        set_tag: key_values(Vec::new()),
        unset_tag: Vec::new(),
        unset_props: Vec::new(),
        password: None,
    }
}

/// Walks over the tokens of one statement.
struct Reader<'a> {
    tokens: &'a [TokenWithSpan],
    next: usize,
}

impl Reader<'_> {
    fn take(&mut self, fits: impl Fn(&Token) -> bool) -> Option<&TokenWithSpan> {
        let token = self.tokens.get(self.next).filter(|token| fits(&token.token))?;
        self.next += 1;
        Some(token)
    }

    fn word(&mut self, expected: &str) -> bool {
        let fits = |token: &Token| match token {
            Token::Word(word) => {
                word.quote_style.is_none() && word.value.eq_ignore_ascii_case(expected)
            }
            _ => false,
        };
        self.take(fits).is_some()
    }

    /// All of these words, or none.
    fn words(&mut self, expected: &[&str]) -> bool {
        let start = self.next;
        let all = expected.iter().all(|word| self.word(word));
        if !all {
            self.next = start;
        }
        all
    }

    fn name(&mut self) -> Result<Ident> {
        match self.take(|token| matches!(token, Token::Word(_))).map(|token| &token.token) {
            Some(Token::Word(word)) => Ok(Ident {
                value: word.value.clone(),
                quote_style: word.quote_style,
                span: self.tokens[self.next - 1].span,
            }),
            _ => Err(self.expected("the user's name")),
        }
    }

    /// PASSWORD and ROLE in any order, each once at most, to the end.
    fn options(&mut self) -> Result<KeyValueOptions> {
        let mut options: Vec<KeyValueOption> = Vec::new();
        while self.next < self.tokens.len() {
            let (name, value) = if self.word(PASSWORD) {
                let fits = |token: &Token| {
                    matches!(token, Token::SingleQuotedString(_) | Token::Placeholder(_))
                };
                let value = match self.take(fits).map(|token| &token.token) {
                    Some(Token::SingleQuotedString(text)) => {
                        Value::SingleQuotedString(text.clone())
                    }
                    Some(Token::Placeholder(name)) => Value::Placeholder(name.clone()),
                    _ => return Err(self.expected("the password in single quotes")),
                };
                (PASSWORD, value)
            } else if self.word(ROLE) {
                let roles = [Role::Reader, Role::Writer, Role::Admin].map(|role| role.to_string());
                let role = roles.into_iter().find(|role| self.word(role));
                let role = role.ok_or_else(|| self.expected("reader, writer or admin"))?;
                (ROLE, Value::SingleQuotedString(role))
            } else {
                return Err(self.expected("PASSWORD '…' or ROLE reader, writer or admin"));
            };
            if options.iter().any(|option| option.option_name == name) {
                return Err(Error::invalid(format!("{name} is given twice")));
            }
            let option_value = KeyValueOptionKind::Single(value.into());
            options.push(KeyValueOption { option_name: name.to_owned(), option_value });
        }
        Ok(key_values(options))
    }

    fn end(&self, what: &str) -> Result<()> {
        if self.next == self.tokens.len() { Ok(()) } else { Err(self.expected(what)) }
    }

    /// Says what should stand here, not what does.
    fn expected(&self, what: &str) -> Error {
        let at = self.tokens.get(self.next).or(self.tokens.last());
        Error::invalid(format!("syntax error: expected {what}"))
            .at(at.and_then(|token| position(token.span.start)))
    }
}

/// The change that a tree of [`parse`]'s means; none for other trees.
///
/// # Errors
/// `Invalid` if something is missing or a parameter is no text.
pub(crate) fn read(bound: &Bound, statement: &Statement) -> Result<Option<UserChange>> {
    Ok(Some(match statement {
        Statement::CreateUser(create) => UserChange::Create {
            name: fold(&create.name),
            if_not_exists: create.if_not_exists,
            role: role_of(&create.options)?
                .ok_or_else(|| Error::invalid("a user needs ROLE reader, writer or admin"))?,
            password: password_of(&create.options, bound)?
                .ok_or_else(|| Error::invalid("a user needs PASSWORD '…'"))?,
        },
        Statement::AlterUser(alter) => {
            let role = role_of(&alter.set_props)?;
            let password = password_of(&alter.set_props, bound)?;
            if role.is_none() && password.is_none() {
                return Err(Error::invalid("ALTER USER changes nothing: say PASSWORD or ROLE"));
            }
            UserChange::Alter {
                name: fold(&alter.name),
                if_exists: alter.if_exists,
                role,
                password,
            }
        }
        Statement::Drop { object_type: ObjectType::User, if_exists, names, .. } => {
            let name = |name: &ObjectName| name.0.first()?.as_ident().map(fold);
            let names = names.iter().filter_map(name).collect();
            UserChange::Drop { names, if_exists: *if_exists }
        }
        _ => return Ok(None),
    }))
}

fn option<'a>(options: &'a KeyValueOptions, name: &str) -> Option<&'a Value> {
    let option = options.options.iter().find(|option| option.option_name == name)?;
    match &option.option_value {
        KeyValueOptionKind::Single(value) => Some(&value.value),
        _ => None,
    }
}

fn role_of(options: &KeyValueOptions) -> Result<Option<Role>> {
    match option(options, ROLE) {
        Some(Value::SingleQuotedString(role)) => Ok(Some(role.parse()?)),
        _ => Ok(None),
    }
}

fn password_of(options: &KeyValueOptions, bound: &Bound) -> Result<Option<Password>> {
    let text = match option(options, PASSWORD) {
        None => return Ok(None),
        Some(Value::SingleQuotedString(text)) => Some(text.clone()),
        Some(Value::Placeholder(name)) => {
            let index = name.strip_prefix('$').and_then(|number| number.parse::<usize>().ok());
            match index.and_then(|index| bound.0.get(index.wrapping_sub(1))) {
                Some(
                    ScalarValue::Utf8(text)
                    | ScalarValue::Utf8View(text)
                    | ScalarValue::LargeUtf8(text),
                ) => text.clone(),
                _ => None,
            }
        }
        Some(_) => None,
    };
    text.map(|text| Some(Password(text))).ok_or_else(|| Error::invalid("a password is text"))
}

impl UserChange {
    /// Makes the change: in a commit of its own, or within the statement's transaction.
    pub(crate) fn apply(self, shared: &Shared, binding: &Binding) -> Result<StatementResult> {
        binding.check_writable("a change of users")?;
        let tag = match self {
            Self::Create { name, if_not_exists, role, password } => {
                // Slow, so before the catalog is locked.
                let verifier = password::verifier(&password.0)?;
                let create = |change: &mut silt_catalog::CatalogChange<'_>| {
                    if if_not_exists && change.snapshot().find_user(&name).is_some() {
                        return Ok(());
                    }
                    let made = change.create_user(&name, role, &verifier);
                    made.map_err(|error| Error::from(error).about(&name))
                };
                ddl::change(shared, binding, create)?;
                "CREATE USER"
            }
            Self::Alter { name, if_exists, role, password } => {
                let verifier =
                    password.map(|password| password::verifier(&password.0)).transpose()?;
                let alter = |change: &mut silt_catalog::CatalogChange<'_>| {
                    if if_exists && change.snapshot().find_user(&name).is_none() {
                        return Ok(());
                    }
                    let altered = change.alter_user(&name, role, verifier.as_deref());
                    altered.map_err(|error| Error::from(error).about(&name))
                };
                ddl::change(shared, binding, alter)?;
                "ALTER USER"
            }
            Self::Drop { names, if_exists } => {
                let drop = |change: &mut silt_catalog::CatalogChange<'_>| {
                    for name in &names {
                        if if_exists && change.snapshot().find_user(name).is_none() {
                            continue;
                        }
                        let dropped = change.drop_user(name);
                        dropped.map_err(|error| Error::from(error).about(name))?;
                    }
                    Ok(())
                };
                ddl::change(shared, binding, drop)?;
                "DROP USER"
            }
        };
        Ok(StatementResult::Count { tag, rows: 0 })
    }
}

/// The answer to SHOW USERS; none for other statements.
pub(crate) fn show(binding: &Binding, statement: &Statement) -> Result<Option<RecordBatch>> {
    let Statement::ShowVariable { variable } = statement else { return Ok(None) };
    match variable.as_slice() {
        [word] if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("USERS") => {}
        _ => return Ok(None),
    }
    let users: Vec<_> = binding.names.users().collect();
    let names = StringArray::from_iter_values(users.iter().map(|user| user.name.as_str()));
    let roles = StringArray::from_iter_values(users.iter().map(|user| user.role.to_string()));
    let field = |name: &str| Field::new(name, DataType::Utf8, false);
    let schema = Schema::new(vec![field("name"), field("role")]);
    let columns: Vec<ArrayRef> = vec![Arc::new(names), Arc::new(roles)];
    Ok(Some(RecordBatch::try_new(Arc::new(schema), columns)?))
}
