//! Images of QR codes that say less than the whole, or of which not all could be read: nothing
//! is enrolled in part, and nothing that is there is lost in silence.

use data_encoding::BASE64;
use image::codecs::gif::GifEncoder;
use image::{DynamicImage, Frame, GrayImage, Luma, imageops};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, App, Caller, PATIENCE, png, qr_png};

const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

/// Two codes over which one URI is split; see `activities/tests/qr_parts.rs`.
const PARTS: [&[u8]; 2] = [
    include_bytes!("../../activities/tests/data/parts/ascii-1.png"),
    include_bytes!("../../activities/tests/data/parts/ascii-2.png"),
];

/// As [`PARTS`], of another account and with characters that are not in ASCII.
const OTHERS: [&[u8]; 3] = [
    include_bytes!("../../activities/tests/data/parts/latin-1.png"),
    include_bytes!("../../activities/tests/data/parts/latin-2.png"),
    include_bytes!("../../activities/tests/data/parts/latin-3.png"),
];

fn uri(name: &str) -> String {
    format!("otpauth://totp/Acme:{name}?secret={SECRET}&issuer=Acme")
}

fn grey(picture: &[u8]) -> GrayImage {
    image::load_from_memory(picture).unwrap().to_luma8()
}

/// Images side by side.
fn row(pictures: &[GrayImage]) -> Vec<u8> {
    let width = pictures.iter().map(|it| it.width() + 20).sum();
    let height = pictures.iter().map(GrayImage::height).max().unwrap();
    let mut page = GrayImage::from_pixel(width, height, Luma([255]));
    let mut x = 0;
    for picture in pictures {
        imageops::replace(&mut page, picture, x, 0);
        x += i64::from(picture.width()) + 20;
    }
    png(&DynamicImage::ImageLuma8(page))
}

/// An account beside another one that is out of focus.
fn one_blurred() -> Vec<u8> {
    let code = |name: &str| grey(&qr_png(&uri(name)));
    row(&[code("alice"), imageops::blur(&code("bob"), 9.0)])
}

/// The problem with which an enrollment of an image ends.
async fn refused(caller: &Caller, picture: Vec<u8>) -> Value {
    let answer = caller
        .post_bytes("/api/enrollments", "image/png", picture)
        .await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let ended = caller.ended(&answer.id()).await;
    assert_eq!(ended.body["stage"], "Invalid", "{ended:?}");
    assert!(!ended.body.to_string().contains(&SECRET[..8]), "{ended:?}");
    ended.body["problem"].clone()
}

async fn imported(caller: &Caller, files: Vec<Vec<u8>>) -> Answer {
    let form = files
        .into_iter()
        .fold(reqwest::multipart::Form::new(), |form, file| {
            form.part(
                "file",
                reqwest::multipart::Part::bytes(file).file_name("file"),
            )
        });
    let request = caller.request(Method::POST, "/api/imports").multipart(form);
    let answer = caller.send(request).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    let begun = std::time::Instant::now();
    loop {
        let path = format!("/api/imports/{}?wait=5", answer.id());
        let answer = caller.get(&path).await;
        if answer.status == StatusCode::OK {
            assert_eq!(answer.body["stage"], "Done", "{answer:?}");
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "{answer:?}");
    }
}

fn accounts(answer: &Answer) -> Vec<&str> {
    let all = answer.body["accounts"].as_array().unwrap().iter();
    all.map(|it| it["result"].as_str().unwrap()).collect()
}

fn problems(answer: &Answer) -> Vec<(&str, Option<u64>)> {
    let all = answer.body["problems"].as_array();
    let told = all.into_iter().flatten();
    told.map(|it| (it["code"].as_str().unwrap(), it["source"].as_u64()))
        .collect()
}

#[tokio::test]
async fn a_part_of_a_text_is_never_enrolled_as_the_whole() {
    let app = App::start().await;
    let admin = app.admin();

    // Alone, whichever it is and however it comes.
    for (part, other) in [(0, 1), (1, 0)] {
        let problem = refused(&admin, PARTS[part].to_vec()).await;
        assert_eq!(problem["code"], "code-parts-missing");
        assert_eq!(problem["regions"].as_array().unwrap().len(), 1);
        let said = problem["detail"].as_str().unwrap();
        assert!(said.contains(&format!("part {} of 2", part + 1)), "{said}");
        assert!(
            said.contains(&format!("part {} is missing", other + 1)),
            "{said}"
        );
    }
    let beside = row(&[grey(&qr_png(&uri("alice"))), grey(PARTS[0])]);
    assert_eq!(
        refused(&admin, beside.clone()).await["code"],
        "code-parts-missing"
    );
    let alone = imported(&admin, vec![PARTS[1].to_vec()]).await;
    assert!(accounts(&alone).is_empty());
    assert_eq!(problems(&alone), [("code-parts-missing", None)]);
    let page = format!(
        "<!doctype html><html><img src=\"data:image/png;base64,{}\"></html>",
        BASE64.encode(PARTS[0])
    );
    let alone = imported(&admin, vec![page.into_bytes()]).await;
    assert!(accounts(&alone).is_empty());
    assert_eq!(problems(&alone), [("code-parts-missing", None)]);

    // What is whole beside it is enrolled by an import, which says what is missing.
    let mixed = imported(&admin, vec![beside]).await;
    assert_eq!(accounts(&mixed), ["enrolled"]);
    assert_eq!(problems(&mixed), [("code-parts-missing", None)]);

    // Together they are one account, in two images and in one.
    let across = imported(&admin, PARTS.iter().rev().map(|it| it.to_vec()).collect()).await;
    assert_eq!(
        (accounts(&across), problems(&across)),
        (vec!["enrolled"], vec![])
    );
    let preview = &across.body["accounts"][0]["preview"];
    assert_eq!(
        [&preview["issuer"], &preview["accountName"]],
        ["GitHub", "alice"]
    );
    let again = imported(&admin, vec![row(&PARTS.map(grey))]).await;
    assert_eq!(
        (accounts(&again), problems(&again)),
        (vec!["already-there"], vec![])
    );
    let whole = row(&OTHERS.map(grey));
    let started = admin
        .post_bytes("/api/enrollments", "image/png", whole)
        .await;
    let ended = admin.ended(&started.id()).await;
    assert_eq!(ended.body["stage"], "Enrolled", "{ended:?}");
    assert_eq!(ended.body["preview"]["accountName"], "Zoë");
}

#[tokio::test]
async fn a_code_that_was_not_read_is_reported_with_its_place() {
    let app = App::start().await;
    let admin = app.admin();
    let problem = refused(&admin, one_blurred()).await;
    assert_eq!(problem["code"], "codes-unread");
    let regions = problem["regions"].as_array().unwrap();
    assert_eq!(regions.len(), 1);
    let right = regions[0].as_array().unwrap().iter();
    assert!(
        right
            .map(|corner| corner[0].as_u64().unwrap())
            .all(|x| x > 4_500)
    );

    let sheet = imported(&admin, vec![qr_png(&uri("carol")), one_blurred()]).await;
    assert_eq!(accounts(&sheet), ["enrolled", "enrolled"]);
    assert_eq!(problems(&sheet), [("codes-unread", Some(2))]);
    assert_eq!(sheet.body["problems"][0]["regions"], json!(regions));

    // A page with several says which of them.
    let pictures = [qr_png(&uri("dave")), one_blurred()];
    let images =
        pictures.map(|it| format!("<img src=\"data:image/png;base64,{}\">", BASE64.encode(&it)));
    let page = format!("<!doctype html><html>{}</html>", images.concat()).into_bytes();
    let pages = imported(&admin, vec![qr_png(&uri("erin")), page]).await;
    assert_eq!(problems(&pages), [("codes-unread", Some(2))]);
    assert_eq!(pages.body["problems"][0]["name"], "image 2");
}

#[tokio::test]
async fn a_recording_of_more_frames_than_are_searched_says_how_many_it_has() {
    let app = App::start().await;
    let mut recording = Vec::new();
    let mut encoder = GifEncoder::new(&mut recording);
    for number in 0..17 {
        let code = qr_png(&uri(&format!("user-{number}")));
        let frame = image::load_from_memory(&code).unwrap().to_rgba8();
        encoder.encode_frame(Frame::new(frame)).unwrap();
    }
    drop(encoder);
    let answer = imported(&app.admin(), vec![recording]).await;
    assert_eq!(accounts(&answer), ["enrolled"; 16]);
    assert_eq!(problems(&answer), [("pages-not-searched", Some(1))]);
    let detail = answer.body["problems"][0]["detail"].as_str().unwrap();
    assert!(
        detail.contains("17 pages") && detail.contains("first 16"),
        "{detail}"
    );
}
