//! Values on their way into statements and out of rows, the same for both engines.

use std::fmt::Display;

use rusqlite::ToSql;
use rusqlite::types::ToSqlOutput;

use super::postgres::Decoded;

/// A value of a statement that is put together at run time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Integer(i64),
    Text(String),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

/// A value as a statement gets it. A truth value is 1 or 0.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ValueRef<'a> {
    Null,
    Integer(i64),
    Text(&'a str),
    Blob(&'a [u8]),
}

impl ToSql for ValueRef<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        use rusqlite::types::ValueRef as Theirs;
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => Theirs::Null,
            Self::Integer(value) => Theirs::Integer(*value),
            Self::Text(value) => Theirs::Text(value.as_bytes()),
            Self::Blob(value) => Theirs::Blob(value),
        }))
    }
}

/// What can be a value of a statement.
pub(crate) trait Bind {
    fn value(&self) -> ValueRef<'_>;
}

macro_rules! whole_numbers {
    ($($number:ty),+) => {$(
        impl Bind for $number {
            fn value(&self) -> ValueRef<'_> {
                ValueRef::Integer(i64::from(*self))
            }
        }
    )+};
}
whole_numbers!(i64, i32, u32, bool);

impl Bind for str {
    fn value(&self) -> ValueRef<'_> {
        ValueRef::Text(self)
    }
}

impl Bind for String {
    fn value(&self) -> ValueRef<'_> {
        ValueRef::Text(self)
    }
}

impl Bind for Vec<u8> {
    fn value(&self) -> ValueRef<'_> {
        ValueRef::Blob(self)
    }
}

impl Bind for Value {
    fn value(&self) -> ValueRef<'_> {
        match self {
            Self::Integer(value) => ValueRef::Integer(*value),
            Self::Text(value) => ValueRef::Text(value),
        }
    }
}

impl<T: Bind> Bind for Option<T> {
    fn value(&self) -> ValueRef<'_> {
        self.as_ref().map_or(ValueRef::Null, Bind::value)
    }
}

impl<T: Bind + ?Sized> Bind for &T {
    fn value(&self) -> ValueRef<'_> {
        (**self).value()
    }
}

/// The values of a statement, in order.
pub(crate) trait Params {
    /// Passes on each of them, until one cannot be taken.
    fn each<E>(&self, to: impl FnMut(ValueRef<'_>) -> Result<(), E>) -> Result<(), E>;
}

impl Params for () {
    fn each<E>(&self, _: impl FnMut(ValueRef<'_>) -> Result<(), E>) -> Result<(), E> {
        Ok(())
    }
}

impl<T: Bind, const N: usize> Params for [T; N] {
    fn each<E>(&self, mut to: impl FnMut(ValueRef<'_>) -> Result<(), E>) -> Result<(), E> {
        self.iter().try_for_each(|one| to(one.value()))
    }
}

impl Params for Vec<Value> {
    fn each<E>(&self, mut to: impl FnMut(ValueRef<'_>) -> Result<(), E>) -> Result<(), E> {
        self.iter().try_for_each(|one| to(one.value()))
    }
}

macro_rules! tuples {
    ($(($($part:ident)+))+) => {$(
        impl<$($part: Bind),+> Params for ($($part,)+) {
            #[allow(non_snake_case)]
            fn each<Failed>(
                &self,
                mut to: impl FnMut(ValueRef<'_>) -> Result<(), Failed>,
            ) -> Result<(), Failed> {
                let ($($part,)+) = self;
                $(to($part.value())?;)+
                Ok(())
            }
        }
    )+};
}
tuples! {
    (A B)
    (A B C)
    (A B C D)
    (A B C D E)
    (A B C D E F)
    (A B C D E F G H I J K L)
    (A B C D E F G H I J K L M N)
}

/// What a column is read as.
pub(crate) trait Column: rusqlite::types::FromSql + Decoded {}

impl<T: rusqlite::types::FromSql + Decoded> Column for T {}

/// What names a column: its number or its name.
pub(crate) trait Index:
    rusqlite::RowIndex + tokio_postgres::row::RowIndex + Display
{
}

impl Index for usize {}
impl Index for &str {}
