//! Typed names from functions, for the `durabletask` SDK's feature `macros`.
//!
//! Everything works without these attributes: each adds the constant that would otherwise be
//! written by hand, beside the function, which stays as it is.

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::{format_ident, quote};
use syn::spanned::Spanned as _;
use syn::{
    Error, FnArg, GenericArgument, Ident, ItemFn, LitStr, PathArguments, Result, ReturnType, Type,
    parse_macro_input,
};

/// Adds the constant `Activity` for an activity's function.
///
/// The constant has the function's name in capitals, its visibility, and the types of its
/// second parameter and of the value in its result. On the wire the activity has the
/// function's name. `name = ".."` and `constant = ..` say otherwise.
///
/// ```
/// use durabletask::{ActivityContext, Failure, Registry, activity};
///
/// #[activity]
/// async fn say_hello(_: ActivityContext, city: String) -> Result<String, Failure> {
///     Ok(format!("Hello, {city}!"))
/// }
///
/// #[activity(name = "count-words", constant = COUNT)]
/// async fn count(_: ActivityContext, text: String) -> Result<usize, Failure> {
///     Ok(text.split_whitespace().count())
/// }
///
/// let registry = Registry::new().activity(&SAY_HELLO, say_hello).activity(&COUNT, count);
/// let names: Vec<&str> = registry.activity_names().collect();
/// assert_eq!(names, ["count-words", "say_hello"]);
/// ```
///
/// A function of another shape is refused:
///
/// ```compile_fail
/// #[durabletask::activity]
/// async fn nothing() {}
/// ```
#[proc_macro_attribute]
pub fn activity(attribute: TokenStream, item: TokenStream) -> TokenStream {
    expand(attribute, item, Kind::Activity)
}

/// Adds the constant `Orchestration` for an orchestration's function, as [`macro@activity`]
/// does for an activity's. One that yields an `Outcome` has the output of that, and is
/// registered with `Registry::continuing`.
///
/// ```
/// use durabletask::{Failure, OrchestrationContext, Outcome, Registry, orchestration};
///
/// #[orchestration(name = "greet-all")]
/// async fn greet_all(_: OrchestrationContext, names: Vec<String>) -> Result<usize, Failure> {
///     Ok(names.len())
/// }
///
/// #[orchestration]
/// async fn count(_: OrchestrationContext, n: u32) -> Result<Outcome<u32, u64>, Failure> {
///     Ok(if n < 3 { Outcome::continue_as_new(n + 1) } else { Outcome::Done(7) })
/// }
///
/// let registry = Registry::new().orchestration(&GREET_ALL, greet_all).continuing(&COUNT, count);
/// let names: Vec<&str> = registry.orchestration_names().collect();
/// assert_eq!(names, ["count", "greet-all"]);
/// ```
#[proc_macro_attribute]
pub fn orchestration(attribute: TokenStream, item: TokenStream) -> TokenStream {
    expand(attribute, item, Kind::Orchestration)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Activity,
    Orchestration,
}

impl Kind {
    fn contract(self) -> Ident {
        match self {
            Self::Activity => format_ident!("Activity"),
            Self::Orchestration => format_ident!("Orchestration"),
        }
    }

    /// The shape that a function must have, for messages.
    fn shape(self) -> &'static str {
        match self {
            Self::Activity => {
                "an activity is `async fn(ActivityContext, Input) -> Result<Output, Failure>`"
            }
            Self::Orchestration => {
                "an orchestration is `async fn(OrchestrationContext, Input) -> Result<Output, \
                 Failure>`, or its result holds an `Outcome<Input, Output>`"
            }
        }
    }
}

fn expand(attribute: TokenStream, item: TokenStream, kind: Kind) -> TokenStream {
    let (mut name, mut constant) = (None::<LitStr>, None::<Ident>);
    let options = syn::meta::parser(|meta| {
        if meta.path.is_ident("name") {
            name = Some(meta.value()?.parse()?);
        } else if meta.path.is_ident("constant") {
            constant = Some(meta.value()?.parse()?);
        } else {
            return Err(meta.error("the options are `name = \"..\"` and `constant = NAME`"));
        }
        Ok(())
    });
    parse_macro_input!(attribute with options);
    let function = parse_macro_input!(item as ItemFn);
    let added = declare(&function, kind, name, constant).unwrap_or_else(Error::into_compile_error);
    quote! {
        #function
        #added
    }
    .into()
}

/// The constant for `function`.
fn declare(
    function: &ItemFn,
    kind: Kind,
    name: Option<LitStr>,
    constant: Option<Ident>,
) -> Result<Tokens> {
    let signature = &function.sig;
    let refused = |at: proc_macro2::Span| Error::new(at, kind.shape());
    if signature.asyncness.is_none() || !signature.generics.params.is_empty() {
        return Err(refused(signature.span()));
    }
    let inputs: Vec<&FnArg> = signature.inputs.iter().collect();
    let [FnArg::Typed(_), FnArg::Typed(input)] = inputs[..] else {
        return Err(refused(signature.inputs.span()));
    };
    let ReturnType::Type(_, returned) = &signature.output else {
        return Err(refused(signature.span()));
    };
    let value = arguments(returned, "Result")
        .and_then(|arguments| arguments.into_iter().next())
        .ok_or_else(|| refused(returned.span()))?;
    let output = match (kind, arguments(&value, "Outcome").as_deref()) {
        (Kind::Orchestration, Some([_, output])) => output.clone(),
        _ => value,
    };
    let input = &input.ty;
    let contract = kind.contract();
    let name = name.unwrap_or_else(|| LitStr::new(&signature.ident.to_string(), signature.span()));
    let constant = constant.unwrap_or_else(|| {
        let name = signature.ident.to_string().to_uppercase();
        Ident::new(&name, signature.ident.span())
    });
    let visibility = &function.vis;
    let documentation = format!("The name and types of [`{}`].", signature.ident);
    Ok(quote! {
        #[doc = #documentation]
        #visibility const #constant: ::durabletask::#contract<#input, #output> =
            ::durabletask::#contract::new(#name);
    })
}

/// The type arguments of a path that ends with `name`.
fn arguments(of: &Type, name: &str) -> Option<Vec<Type>> {
    let Type::Path(path) = of else {
        return None;
    };
    let last = path
        .path
        .segments
        .last()
        .filter(|last| last.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    let types = arguments.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(of) => Some(of.clone()),
        _ => None,
    });
    Some(types.collect())
}
