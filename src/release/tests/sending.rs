//! Archives that are sent, on a real disk.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt};

use super::{super::UploadError, kit::Shop};

/// Of "abc", as FIPS 180-2 has it.
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn kept(shop: &Shop) -> usize {
    fs::read_dir(&shop.workshop.places.uploads).unwrap().count()
}

#[tokio::test]
async fn what_is_sent_is_kept_whole_for_us_alone_or_not_at_all() {
    let shop = Shop::new("keep: 2");
    let abc = shop.send(b"abc").await;
    assert_eq!((abc.bytes, abc.sha256.as_str()), (3, ABC));
    let place = shop.workshop.upload(abc.id);
    assert_eq!(fs::read(&place).unwrap(), b"abc");
    for (path, mode) in [(place.as_path(), 0o600), (&shop.workshop.places.uploads, 0o700)] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, mode, "{path:?}");
    }
    // Several portions, and more than one that is on its way.
    let long = vec![7; 3 << 20];
    let long = shop.send(&long).await;
    assert_eq!(
        (long.bytes, fs::metadata(shop.workshop.upload(long.id)).unwrap().len()),
        (3 << 20, 3 << 20)
    );
    assert_eq!(kept(&shop), 2);

    let mut cut = shop.workshop.receive(Some(9)).await.unwrap();
    cut.take(vec![1; 2 << 20].into()).await.unwrap();
    assert_eq!(kept(&shop), 3);
    drop(cut);
    assert_eq!(kept(&shop), 2);
    let nothing = shop.workshop.receive(None).await.unwrap().finish().await;
    assert!(matches!(nothing, Err(UploadError::Empty)), "{nothing:?}");
    let large = shop.workshop.receive(Some((4 << 30) + 1)).await.unwrap_err();
    assert!(matches!(large, UploadError::TooLarge), "{large}");
    assert_eq!(kept(&shop), 2);
}

#[tokio::test]
async fn what_no_deploy_needs_is_swept_away_and_nothing_else_is() {
    let shop = Shop::new("keep: 2");
    shop.workshop.sweep_uploads(BTreeSet::new()).await.unwrap();
    let (needed, other) = (shop.send(b"abc").await, shop.send(b"def").await);
    let foreign = shop.workshop.places.uploads.join("mine.archive");
    fs::write(&foreign, "").unwrap();
    shop.workshop.sweep_uploads(BTreeSet::from([needed.id])).await.unwrap();
    assert!(shop.workshop.upload(needed.id).exists() && foreign.exists());
    assert!(!shop.workshop.upload(other.id).exists());
    shop.workshop.forget_upload(needed.id).await.unwrap();
    shop.workshop.forget_upload(needed.id).await.unwrap();
    assert_eq!(kept(&shop), 1);
}
