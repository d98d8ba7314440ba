//! The promises of every vault, checked through its one interface. The adapters' tests
//! include this file.

#![allow(dead_code, clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use countersign_activities::vault::{
    Change, Filter, SecretVault, Stored, StoredUnlessThere, VaultError,
};
use countersign_enrollment::account::{Labels, TotpAccount};
use countersign_enrollment::filing::Filing;
use countersign_enrollment::ids::{CallerId, EnrollmentId};
use countersign_enrollment::otpauth;
use countersign_enrollment::recovery::RecoveryCodes;

/// An account called `issuer:name`.
pub(crate) fn account(issuer: &str, name: &str, secret: &str) -> TotpAccount {
    let uri = format!("otpauth://totp/{issuer}:{name}?secret={secret}&issuer={issuer}");
    otpauth::parse(&uri).unwrap().account
}

const SECRET: &str = "JBSWY3DPEHPK3PXP";

/// Runs through all promises. The vault may hold other accounts.
pub(crate) async fn keeps(vault: &dyn SecretVault) {
    storing_twice_stores_once(vault).await;
    another_secret_is_a_conflict(vault).await;
    what_is_unknown_is_not_found(vault).await;
    a_name_changes_and_codes_do_not(vault).await;
    deleting_can_be_undone(vault).await;
    purging_is_for_ever(vault).await;
    lists_are_ordered_paged_and_searched(vault).await;
    accounts_are_filed_and_found_by_group_and_tag(vault).await;
    an_account_is_pending_until_it_is_proved(vault).await;
    accounts_are_found_by_their_content(vault).await;
    of_many_at_once_one_is_stored_unless_it_is_there(vault).await;
    recovery_codes_stay_beside_the_account(vault).await;
    vault.check().await.unwrap();
}

async fn of_many_at_once_one_is_stored_unless_it_is_there(vault: &dyn SecretVault) {
    let ids: Vec<EnrollmentId> = (0..12).map(|_| EnrollmentId::random()).collect();
    let secret = "NBSWY3DPFQQHO33SNRSCCII";
    let storing = ids.iter().enumerate().map(async |(number, id)| {
        let new = account("ACME", &format!("once-{number}"), secret);
        vault.store_unless_there(id, &new, None).await.unwrap()
    });
    let outcomes = futures_util::future::join_all(storing).await;
    let stored = StoredUnlessThere::Stored(Stored::Created);
    let kept: Vec<&EnrollmentId> = ids
        .iter()
        .zip(&outcomes)
        .filter(|(_, outcome)| **outcome == stored)
        .map(|(id, _)| id)
        .collect();
    assert_eq!(kept.len(), 1, "{outcomes:?}");
    let there = StoredUnlessThere::There(vec![kept[0].clone()]);
    assert_eq!(outcomes.iter().filter(|it| **it == there).count(), 11);
    // The one that is there is found by its id, as after an answer that was lost.
    let same = account("ACME", "again", secret);
    let again = vault.store_unless_there(kept[0], &same, None).await;
    let already = StoredUnlessThere::Stored(Stored::AlreadyThere);
    assert_eq!(again.unwrap(), already);
    // Other codes of the same secret are another account.
    let uri = format!("otpauth://totp/ACME:other?secret={secret}&digits=8");
    let other = otpauth::parse(&uri).unwrap().account;
    let id = EnrollmentId::random();
    let other = vault.store_unless_there(&id, &other, None).await;
    assert_eq!(other.unwrap(), stored);
    vault.delete(kept[0]).await.unwrap();
    let id = EnrollmentId::random();
    let back = vault.store_unless_there(&id, &same, None).await;
    assert_eq!(back.unwrap(), stored);
}

async fn recovery_codes_stay_beside_the_account(vault: &dyn SecretVault) {
    let codes = |codes: &[&str]| RecoveryCodes::new(codes.iter().copied()).unwrap();
    let none = RecoveryCodes::default();
    let id = EnrollmentId::random();
    let unknown = vault.set_recovery(&id, &none, &codes(&["a"])).await;
    assert!(matches!(unknown, Err(VaultError::NotFound)), "{unknown:?}");
    let unknown = vault.recovery(&id).await;
    assert!(matches!(unknown, Err(VaultError::NotFound)), "{unknown:?}");

    let kept = account("ACME", "recovered", "KRUGS4ZANFZSAYJA");
    vault.store(&id, &kept).await.unwrap();
    assert!(vault.recovery(&id).await.unwrap().is_empty());
    let mut replaced = none.clone();
    for set in [codes(&["one", "two 2", "\u{e4}\"\\"]), codes(&["three"])] {
        // Twice, as after an answer that was lost.
        for _ in 0..2 {
            vault.set_recovery(&id, &replaced, &set).await.unwrap();
            assert_eq!(vault.recovery(&id).await.unwrap(), set);
        }
        replaced = set;
    }
    // In place of exactly those that it has, and no others.
    for replaced in [&none, &codes(&["two 2"]), &codes(&["three", "four"])] {
        let refused = vault.set_recovery(&id, replaced, &codes(&["five"])).await;
        assert!(
            matches!(refused, Err(VaultError::RecoveryConflict)),
            "{refused:?}"
        );
        assert_eq!(vault.recovery(&id).await.unwrap(), codes(&["three"]));
    }
    // Neither the account nor what it is called is changed by it, nor they by that.
    let renamed = Labels::new(Some("Other"), "name").unwrap();
    vault.rename(&id, &renamed).await.unwrap();
    assert_eq!(vault.recovery(&id).await.unwrap(), codes(&["three"]));
    assert_eq!(vault.read(&id).await.unwrap().secret(), kept.secret());
    assert_eq!(vault.store(&id, &kept).await.unwrap(), Stored::AlreadyThere);

    vault.delete(&id).await.unwrap();
    let deleted = vault.recovery(&id).await;
    assert!(matches!(deleted, Err(VaultError::Deleted)), "{deleted:?}");
    vault.recover(&id).await.unwrap();
    assert_eq!(vault.recovery(&id).await.unwrap(), codes(&["three"]));
    vault
        .set_recovery(&id, &codes(&["three"]), &none)
        .await
        .unwrap();
    assert!(vault.recovery(&id).await.unwrap().is_empty());
    // Of several at once, one sets its own.
    let several: Vec<_> = ["six", "seven", "eight", "nine"]
        .iter()
        .map(|code| codes(&[*code]))
        .collect();
    let setting = several
        .iter()
        .map(|wanted| vault.set_recovery(&id, &none, wanted));
    let set = futures_util::future::join_all(setting).await;
    let winners: Vec<_> = set.iter().map(Result::is_ok).collect();
    assert_eq!(winners.iter().filter(|won| **won).count(), 1, "{set:?}");
    let winner = winners.iter().position(|won| *won).unwrap();
    assert_eq!(vault.recovery(&id).await.unwrap(), several[winner]);
}

async fn accounts_are_found_by_their_content(vault: &dyn SecretVault) {
    let uri = |parameters: &str| {
        let uri = format!("otpauth://totp/a:b?secret=ON2GC5DFNVSW45BAOB2XEYLO{parameters}");
        otpauth::parse(&uri).unwrap().account
    };
    let (plain, renamed) = (uri(""), uri("&issuer=Other"));
    let same = async |account: &TotpAccount| -> Vec<EnrollmentId> {
        let found = vault.same_as(account).await.unwrap();
        found.into_iter().map(|record| record.id).collect()
    };
    assert_eq!(same(&plain).await, []);
    let (first, second) = (EnrollmentId::random(), EnrollmentId::random());
    vault.store(&first, &plain).await.unwrap();
    let asked: CallerId = "ann".parse().unwrap();
    let pending = Some(&asked);
    vault.store_for(&second, &renamed, pending).await.unwrap();
    // What is called the same comes first.
    let [of_first, of_second] =
        [[&first, &second], [&second, &first]].map(|ids| ids.map(Clone::clone));
    assert_eq!(same(&plain).await, of_first);
    assert_eq!(same(&renamed).await, of_second);
    // Other codes are another account.
    for other in ["&digits=8", "&period=60", "&algorithm=SHA256"] {
        assert_eq!(same(&uri(other)).await, [], "{other}");
    }
    vault.delete(&first).await.unwrap();
    assert_eq!(same(&plain).await, std::slice::from_ref(&second));
    vault.recover(&first).await.unwrap();
    assert_eq!(same(&plain).await, of_first);
}

async fn storing_twice_stores_once(vault: &dyn SecretVault) {
    let id = EnrollmentId::random();
    let uri = "otpauth://totp/x?secret=MFRGGZDFMZTWQ2LK&algorithm=SHA512&digits=8&period=60";
    let kept = otpauth::parse(uri).unwrap().account;
    assert_eq!(vault.store(&id, &kept).await.unwrap(), Stored::Created);
    assert_eq!(vault.store(&id, &kept).await.unwrap(), Stored::AlreadyThere);
    assert_eq!(vault.read(&id).await.unwrap(), kept);
    let reading = vault.read_for_code(&id).await.unwrap();
    assert_eq!((&reading.account, reading.stale), (&kept, None));
    assert_eq!(reading.pending_for, None);
    let record = vault.describe(&id).await.unwrap();
    assert_eq!((record.id.clone(), record.preview), (id, kept.preview()));
    assert_eq!(record.deleted_at, None);
}

async fn another_secret_is_a_conflict(vault: &dyn SecretVault) {
    let id = EnrollmentId::random();
    let first = account("ACME", "ann", SECRET);
    vault.store(&id, &first).await.unwrap();
    let other = account("ACME", "ann", "MFRGGZDFMZTWQ2LK");
    let refused = vault.store(&id, &other).await;
    assert!(matches!(refused, Err(VaultError::Conflict)), "{refused:?}");
    assert_eq!(vault.read(&id).await.unwrap(), first);
}

async fn what_is_unknown_is_not_found(vault: &dyn SecretVault) {
    let id = EnrollmentId::random();
    let labels = Labels::new(None, "x").unwrap();
    assert!(matches!(vault.read(&id).await, Err(VaultError::NotFound)));
    assert!(matches!(
        vault.describe(&id).await,
        Err(VaultError::NotFound)
    ));
    assert!(matches!(
        vault.rename(&id, &labels).await,
        Err(VaultError::NotFound)
    ));
    assert!(matches!(vault.delete(&id).await, Err(VaultError::NotFound)));
    assert!(matches!(
        vault.recover(&id).await,
        Err(VaultError::NotFound)
    ));
    assert!(matches!(vault.purge(&id).await, Err(VaultError::NotFound)));
}

async fn a_name_changes_and_codes_do_not(vault: &dyn SecretVault) {
    let id = EnrollmentId::random();
    let before = account("ACME", "ann", SECRET);
    vault.store(&id, &before).await.unwrap();
    let labels = Labels::new(None, "Bob").unwrap();
    let record = vault.rename(&id, &labels).await.unwrap();
    assert_eq!(record.preview.issuer, None);
    assert_eq!(record.preview.account_name, "Bob");
    let after = vault.read(&id).await.unwrap();
    assert_eq!(after.labels(), &labels);
    assert_eq!(after.secret(), before.secret());
    // Stored again by a retry, it keeps its new name.
    assert_eq!(
        vault.store(&id, &before).await.unwrap(),
        Stored::AlreadyThere
    );
    assert_eq!(
        vault.describe(&id).await.unwrap().preview.account_name,
        "Bob"
    );
}

async fn deleting_can_be_undone(vault: &dyn SecretVault) {
    let id = EnrollmentId::random();
    let kept = account("ACME", "ann", SECRET);
    vault.store(&id, &kept).await.unwrap();
    assert!(matches!(vault.purge(&id).await, Err(VaultError::Conflict)));
    vault.delete(&id).await.unwrap();
    vault.delete(&id).await.unwrap();
    assert!(matches!(vault.read(&id).await, Err(VaultError::Deleted)));
    let stored = vault.store(&id, &kept).await;
    assert!(matches!(stored, Err(VaultError::Deleted)), "{stored:?}");
    assert!(vault.describe(&id).await.unwrap().deleted_at.is_some());
    let labels = Labels::new(None, "x").unwrap();
    assert!(matches!(
        vault.rename(&id, &labels).await,
        Err(VaultError::Deleted)
    ));
    let record = vault.recover(&id).await.unwrap();
    assert_eq!((record.preview, record.deleted_at), (kept.preview(), None));
    vault.recover(&id).await.unwrap();
    assert_eq!(vault.read(&id).await.unwrap(), kept);
}

async fn purging_is_for_ever(vault: &dyn SecretVault) {
    let id = EnrollmentId::random();
    let kept = account("ACME", "ann", SECRET);
    vault.store(&id, &kept).await.unwrap();
    vault.delete(&id).await.unwrap();
    vault.purge(&id).await.unwrap();
    vault.purge(&id).await.unwrap();
    assert!(matches!(vault.read(&id).await, Err(VaultError::NotFound)));
    assert!(matches!(
        vault.describe(&id).await,
        Err(VaultError::NotFound)
    ));
    assert!(matches!(
        vault.recover(&id).await,
        Err(VaultError::NotFound)
    ));
    let stored = vault.store(&id, &kept).await;
    assert!(matches!(stored, Err(VaultError::Deleted)), "{stored:?}");
}

async fn lists_are_ordered_paged_and_searched(vault: &dyn SecretVault) {
    let mark = EnrollmentId::random().to_string().replace("totp-", "m");
    let names = ["Delta", "alpha", "charlie", "Bravo", "echo"];
    let mut ids = Vec::new();
    for name in names {
        let id = EnrollmentId::random();
        vault
            .store(&id, &account(&mark, name, SECRET))
            .await
            .unwrap();
        ids.push(id);
    }
    let mut seen = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let page = vault
            .list(Some(&mark.to_uppercase()), cursor.as_deref(), 2)
            .await
            .unwrap();
        assert!(page.accounts.len() <= 2);
        seen.extend(page.accounts.into_iter().map(|a| a.preview.account_name));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["alpha", "Bravo", "charlie", "Delta", "echo"]);
    vault.delete(&ids[1]).await.unwrap();
    let page = vault.list(Some(&mark), None, 500).await.unwrap();
    assert_eq!(page.accounts.len(), 4);
    assert_eq!(page.next, None);
    let wrong = vault.list(None, Some("no cursor"), 1).await;
    assert!(matches!(wrong, Err(VaultError::InvalidCursor)), "{wrong:?}");
}

async fn accounts_are_filed_and_found_by_group_and_tag(vault: &dyn SecretVault) {
    let mark = EnrollmentId::random().to_string().replace("totp-", "g");
    let mut ids = Vec::new();
    for (name, group, tags) in [
        ("a", Some(mark.as_str()), &["red", "blue"][..]),
        ("b", Some(mark.as_str()), &["red"]),
        ("c", None, &["Red"]),
        ("d", None, &[]),
    ] {
        let id = EnrollmentId::random();
        let account = account(&mark, name, SECRET);
        vault.store(&id, &account).await.unwrap();
        let before = vault.describe(&id).await.unwrap();
        assert_eq!(
            (before.filing, before.pending_for),
            (Filing::default(), None)
        );
        let filing = Filing::new(group, tags).unwrap();
        let change = Change {
            filing: Some(filing.clone()),
            ..Change::default()
        };
        let record = vault.change(&id, &change).await.unwrap();
        assert_eq!(
            (&record.filing, record.preview),
            (&filing, account.preview())
        );
        ids.push(id);
    }
    let labels = Labels::new(Some(&mark), "renamed").unwrap();
    let renamed = vault.rename(&ids[0], &labels).await.unwrap();
    assert_eq!(renamed.filing.tags(), ["blue", "red"]);

    let found = async |group: Option<&str>, tag: Option<&str>| {
        let filter = Filter {
            search: Some(mark.clone()),
            group: group.map(str::to_owned),
            tag: tag.map(str::to_owned),
            deleted: false,
        };
        let mut names = Vec::new();
        let mut cursor = None;
        loop {
            let page = vault.list_by(&filter, cursor.as_deref(), 1).await.unwrap();
            names.extend(page.accounts.into_iter().map(|a| a.preview.account_name));
            cursor = page.next;
            if cursor.is_none() {
                return names;
            }
        }
    };
    assert_eq!(found(None, None).await, ["b", "c", "d", "renamed"]);
    assert_eq!(found(None, Some("RED")).await, ["b", "c", "renamed"]);
    assert_eq!(
        found(Some(&mark.to_uppercase()), None).await,
        ["b", "renamed"]
    );
    assert_eq!(found(Some(&mark), Some("blue")).await, ["renamed"]);
    assert_eq!(found(Some("another"), None).await, [""; 0]);

    let removed = async || {
        let filter = Filter {
            search: Some(mark.clone()),
            deleted: true,
            ..Filter::default()
        };
        let page = vault.list_by(&filter, None, 10).await.unwrap();
        let named = page.accounts.into_iter().map(|account| {
            assert!(account.deleted_at.is_some());
            account.preview.account_name
        });
        named.collect::<Vec<_>>()
    };
    assert_eq!(removed().await, [""; 0]);
    vault.delete(&ids[1]).await.unwrap();
    assert_eq!(removed().await, ["b"], "only what was deleted");
    assert_eq!(found(None, Some("RED")).await, ["c", "renamed"]);
    vault.recover(&ids[1]).await.unwrap();
    assert_eq!(removed().await, [""; 0]);
    assert_eq!(found(None, Some("RED")).await, ["b", "c", "renamed"]);

    let emptied = Change {
        filing: Some(Filing::default()),
        ..Change::default()
    };
    let record = vault.change(&ids[0], &emptied).await.unwrap();
    assert_eq!(record.filing, Filing::default());
    assert_eq!(record.preview.account_name, "renamed");
}

async fn an_account_is_pending_until_it_is_proved(vault: &dyn SecretVault) {
    let id = EnrollmentId::random();
    let kept = account("ACME", "pending", SECRET);
    let asked: CallerId = "ann".parse().unwrap();
    let stored = vault.store_for(&id, &kept, Some(&asked)).await.unwrap();
    assert_eq!(stored, Stored::Created);
    let pending = async || {
        let described = vault.describe(&id).await.unwrap().pending_for;
        let reading = vault.read_for_code(&id).await.unwrap();
        assert_eq!(
            (&reading.pending_for, &reading.account),
            (&described, &kept)
        );
        described
    };
    assert_eq!(pending().await, Some(asked.clone()));
    // Another change, or another try to store it, proves nothing.
    vault.rename(&id, kept.labels()).await.unwrap();
    vault.store(&id, &kept).await.unwrap();
    assert_eq!(pending().await, Some(asked.clone()));
    vault.delete(&id).await.unwrap();
    vault.recover(&id).await.unwrap();
    assert_eq!(pending().await, Some(asked.clone()));

    let proved = Change {
        proved: true,
        ..Change::default()
    };
    assert_eq!(vault.change(&id, &proved).await.unwrap().pending_for, None);
    assert_eq!(pending().await, None);
    // A retry of the activity comes too late to undo that.
    let again = vault.store_for(&id, &kept, Some(&asked)).await.unwrap();
    assert_eq!((again, pending().await), (Stored::AlreadyThere, None));
}
