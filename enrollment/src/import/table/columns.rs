//! What the columns of a table hold, told by their names.

use super::super::loose::is_secret;
use super::super::meaning::folded;
use super::super::recovery_codes::is_named;
use super::super::secret_names::{Says, is_of_keepass, ranked, says};
use crate::otpauth;

/// What an item is called. Those that name a service come first where a table has two.
const TITLES: [&str; 31] = [
    "title",
    "name",
    "displayname",
    "service",
    "servicename",
    "issuer",
    "issuername",
    "site",
    "sitename",
    "website",
    "app",
    "accountname",
    "passwordname",
    "secretname",
    "beschreibung",
    "titel",
    "bezeichnung",
    "dienst",
    "anbieter",
    "provider",
    "entryname",
    "itemname",
    "item",
    "nom",
    "titre",
    "nombre",
    "título",
    "nome",
    "titolo",
    "naam",
    "webseite",
];
/// The ones of these that name who an account is with, where another one names the account.
const ISSUERS: [&str; 8] = [
    "issuer",
    "issuername",
    "service",
    "servicename",
    "provider",
    "dienst",
    "anbieter",
    "title",
];
/// The ones of these that can name an account.
const ACCOUNTS: [&str; 8] = [
    "accountname",
    "name",
    "entryname",
    "itemname",
    "nom",
    "nombre",
    "nome",
    "naam",
];
const USERS: [&str; 33] = [
    "username",
    "loginusername",
    "user",
    "login",
    "userid",
    "email",
    "account",
    "label",
    "username2",
    "loginname",
    "benutzername",
    "benutzer",
    "nutzer",
    "nutzername",
    "anmeldename",
    "kennung",
    "konto",
    "kontoname",
    "emailaddress",
    "emailadresse",
    "loginemail",
    "mail",
    "identifiant",
    "utilisateur",
    "nomdutilisateur",
    "compte",
    "usuario",
    "cuenta",
    "utente",
    "nomeutente",
    "gebruiker",
    "gebruikersnaam",
    "användarnamn",
];
/// Addresses, whose host says who the account is with where nothing else does.
const ADDRESSES: [&str; 15] = [
    "url",
    "uri",
    "loginuri",
    "loginurl",
    "loginurls",
    "website",
    "webseite",
    "site",
    "webaddress",
    "webadresse",
    "address",
    "adresse",
    "link",
    "host",
    "domain",
];
const ALGORITHMS: [&str; 10] = [
    "algorithmus",
    "algorithme",
    "algoritmo",
    "hashfunktion",
    "algorithm",
    "algo",
    "hash",
    "hashalgorithm",
    "hashalgo",
    "hashfunction",
];
const DIGITS: [&str; 13] = [
    "ziffern",
    "stellen",
    "chiffres",
    "cifras",
    "cifre",
    "digits",
    "digit",
    "length",
    "otplength",
    "codelength",
    "numdigits",
    "numberofdigits",
    "otpdigits",
];
const PERIODS: [&str; 14] = [
    "intervall",
    "zeitintervall",
    "periode",
    "période",
    "periodo",
    "period",
    "interval",
    "step",
    "timestep",
    "timer",
    "timeperiod",
    "timeinterval",
    "timesteps",
    "periods",
];
const KINDS: [&str; 4] = ["otptype", "tokentype", "kind", "type"];
const NOTES: [&str; 11] = [
    "notes",
    "note",
    "fields",
    "comment",
    "comments",
    "extra",
    "notesplain",
    "notizen",
    "notiz",
    "remarques",
    "customfields",
];
/// Words in the names of columns with passwords.
const PASSWORDS: [&str; 9] = [
    "passw",
    "passphrase",
    "pwd",
    "kennwort",
    "motdepasse",
    "contrase",
    "senha",
    "wachtwoord",
    "lösenord",
];
/// Words in the names of columns that say several things about the codes together.
const SETTINGS: [&str; 6] = [
    "settings",
    "options",
    "param",
    "config",
    "einstellung",
    "optionen",
];
/// Further names of columns that show that a line names columns.
const OTHERS: [&str; 14] = [
    "folder",
    "group",
    "grouping",
    "favorite",
    "favourite",
    "fav",
    "reprompt",
    "tags",
    "tag",
    "vault",
    "category",
    "created",
    "modified",
    "lastmodified",
];

/// Whether a name, folded, is that of a column that some program writes.
pub(super) fn is_known(name: &str) -> bool {
    let lists: [&[&str]; 9] = [
        &TITLES,
        &USERS,
        &ADDRESSES,
        &ALGORITHMS,
        &DIGITS,
        &PERIODS,
        &KINDS,
        &NOTES,
        &OTHERS,
    ];
    lists.iter().any(|names| names.contains(&name))
        || says(name).is_some()
        || is_password(name)
        || is_of_keepass(name)
}

/// Whether a name, folded, is that of a password.
fn is_password(name: &str) -> bool {
    PASSWORDS.iter().any(|word| name.contains(word))
}

/// Which columns of a table hold what.
pub(super) struct Columns {
    /// Those with codes.
    pub(super) codes: Vec<usize>,
    /// Those that hold codes only if no other does.
    pub(super) generic: Vec<usize>,
    /// Those of them in which only what is plainly a code counts.
    pub(super) vague: Vec<usize>,
    pub(super) counter: Option<usize>,
    /// What the secret is encoded in.
    pub(super) encoding: Option<usize>,
    /// Those of none of these kinds: one of them may mean a parameter of the codes. Empty where
    /// a known program has named them.
    pub(super) others: Vec<usize>,
    /// How many columns have a name; nothing if none has.
    pub(super) width: Option<usize>,
    pub(super) title: Option<usize>,
    pub(super) user: Option<usize>,
    pub(super) address: Option<usize>,
    pub(super) algorithm: Option<usize>,
    pub(super) digits: Option<usize>,
    pub(super) period: Option<usize>,
    pub(super) kind: Option<usize>,
    /// A column of kinds that can be those of items, such as a login.
    pub(super) kind_of_item: Option<usize>,
    /// Those that say several parameters of the codes together.
    pub(super) settings: Vec<usize>,
    /// From when on time steps are counted.
    pub(super) start: Option<usize>,
    /// From which column on RoboForm keeps an item's fields, one in each.
    pub(super) fields: Option<usize>,
    /// Whether the table does not say which column has codes, so that only URIs are.
    pub(super) only_uris: bool,
    /// Those with recovery codes.
    pub(super) recovery: Vec<usize>,
    /// Zoho Vault's, whose lines are names and values.
    pub(super) lines: Option<usize>,
    /// Those with notes, or with fields that a person added, one a line.
    pub(super) notes: Vec<usize>,
    /// Those with passwords.
    pub(super) passwords: Vec<usize>,
    /// KeePass's fields for its own codes.
    pub(super) of_keepass: Vec<usize>,
    /// KeePassXC's groups, of which one is the bin.
    pub(super) groups: Option<usize>,
    /// The names as they are written.
    pub(super) names: Vec<String>,
}

impl Columns {
    /// Of a table whose first line has these names.
    pub(super) fn of(written: &[String]) -> Self {
        let names: Vec<String> = written.iter().map(|name| folded(name)).collect();
        let find = |wanted: &[&str]| {
            let known = wanted.iter();
            let mut places = known.filter_map(|name| names.iter().position(|it| it == name));
            places.next()
        };
        let all = |wanted: &dyn Fn(&str) -> bool| -> Vec<usize> {
            let named = names.iter().enumerate().filter(|(_, name)| wanted(name));
            named.map(|(at, _)| at).collect()
        };
        let recovery = all(&is_named);
        let mut codes = ranked(&names);
        codes.retain(|(at, _)| !recovery.contains(at) && !is_title_of(&names[*at]));
        let generic = codes.extract_if(.., |(_, says)| {
            matches!(says, Says::AnySecret | Says::Perhaps)
        });
        let generic: Vec<(usize, Says)> = generic.collect();
        let vague = generic.iter().filter(|(_, says)| *says == Says::Perhaps);
        let algorithm = find(&ALGORITHMS);
        let (title, user) = title_and_user(find(&TITLES), find(&USERS), &find);
        Self {
            title,
            user,
            address: find(&ADDRESSES),
            digits: find(&DIGITS),
            period: find(&PERIODS),
            start: names.iter().position(|name| otpauth::is_start(name)),
            // Password managers call the kind of an item so.
            kind_of_item: names
                .iter()
                .position(|name| name == "type")
                .filter(|_| algorithm.is_none() && find(&DIGITS).is_none()),
            kind: find(&KINDS),
            settings: all(&|name| SETTINGS.iter().any(|word| name.contains(word))),
            algorithm,
            vague: vague.map(|(at, _)| *at).collect(),
            codes: codes.into_iter().map(|(at, _)| at).collect(),
            generic: generic.into_iter().map(|(at, _)| at).collect(),
            counter: find(&["counter", "hotpcounter"]),
            encoding: find(&["encoding", "secretencoding"]),
            others: Vec::new(),
            width: Some(names.len()),
            fields: find(&["rffieldsv2", "rffields"]),
            only_uris: false,
            recovery,
            lines: find(&["secretdata"]),
            notes: all(&|name| NOTES.contains(&name)),
            passwords: all(&is_password),
            of_keepass: all(&is_of_keepass),
            groups: None,
            names: written.to_vec(),
        }
    }

    /// Keeps the column that says which entries are in KeePassXC's recycle bin.
    pub(super) fn notice_groups(&mut self) {
        self.groups = self.names.iter().position(|name| folded(name) == "group");
    }

    /// Keeps the columns whose names say nothing that is known.
    pub(super) fn notice_others(&mut self) {
        let Some(width) = self.width else {
            return;
        };
        let known: Vec<usize> = [
            self.title,
            self.user,
            self.algorithm,
            self.digits,
            self.period,
            self.kind,
            self.start,
            self.counter,
            self.encoding,
        ]
        .into_iter()
        .flatten()
        .chain(self.codes.iter().chain(&self.generic).copied())
        .chain(self.settings.iter().copied())
        .chain(self.of_keepass.iter().copied())
        .collect();
        self.others = (0..width).filter(|at| !known.contains(at)).collect();
    }

    /// The names that show what kind of table it is, as far as they can be repeated; none if the
    /// first line may be a row instead.
    pub(super) fn shown(&self) -> Vec<String> {
        const MOST: usize = 16;
        const LONGEST: usize = 40;
        let known = self.names.iter().filter(|name| is_known(&folded(name)));
        if known.count() < 2 {
            return Vec::new();
        }
        let is_name = |name: &&String| {
            !name.is_empty()
                && name.chars().count() <= LONGEST
                && !is_secret(name)
                && !name.contains(['@', '\n'])
        };
        let names = self.names.iter().filter(is_name).take(MOST);
        names
            .map(|name| crate::account::display_name(name))
            .collect()
    }
}

/// Whether a column with a word for codes in its name is the title of an item after all.
fn is_title_of(name: &str) -> bool {
    TITLES.contains(&name) && name != "secret"
}

/// The columns of what an item is called and whose it is. A table without one of the latter can
/// call the account by its name, beside who it is with.
fn title_and_user(
    title: Option<usize>,
    user: Option<usize>,
    find: &dyn Fn(&[&str]) -> Option<usize>,
) -> (Option<usize>, Option<usize>) {
    match (user, find(&ISSUERS), find(&ACCOUNTS)) {
        (None, Some(issuer), Some(account)) => (Some(issuer), Some(account)),
        _ => (title, user),
    }
}
