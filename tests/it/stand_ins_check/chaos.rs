//! The unreliable network.

use std::time::Duration;

use stand_ins::chaos::{Chaos, Mode};
use stand_ins::status_page::StatusPage;
use stand_ins::{Gate, Reply};

use crate::http_client::client;

async fn read(network: &Chaos, patience: Duration) -> Result<String, reqwest::Error> {
    let url = network.url() + "/api/v2/status.json";
    client().get(url).timeout(patience).send().await?.text().await
}

const LONG: Duration = Duration::from_secs(10);

/// `Pass` repairs it on the same port.
#[tokio::test]
async fn each_mode_breaks_the_network_in_its_way() {
    let page = StatusPage::start();
    let network = Chaos::before(&page.url());
    let sound = read(&network, LONG).await.unwrap();
    for _ in 0..3 {
        network.set(Mode::Refuse);
        assert!(read(&network, LONG).await.unwrap_err().is_connect());
        network.set(Mode::Pass);
        assert_eq!(read(&network, LONG).await.unwrap(), sound);
    }
    network.set(Mode::CutAfter(0));
    assert!(!read(&network, LONG).await.unwrap_err().is_timeout());
    network.set(Mode::CutAfter(sound.len()));
    assert!(!read(&network, LONG).await.unwrap_err().is_timeout());
    network.set(Mode::Slow(64, Duration::from_millis(1)));
    assert_eq!(read(&network, LONG).await.unwrap(), sound);
    assert_eq!(page.requests().len(), network.connections());
    for mode in [Mode::Slow(1, LONG), Mode::Stall] {
        network.set(mode);
        assert!(read(&network, Duration::from_millis(50)).await.unwrap_err().is_timeout(), "{mode:?}");
    }
}

/// They are reset when the network starts to refuse, and continue after a stall.
#[tokio::test]
async fn a_new_mode_applies_to_open_connections() {
    let page = StatusPage::start();
    let network = Chaos::before(&page.url());
    for (mode, survives) in [(Mode::Refuse, false), (Mode::Stall, true)] {
        let gate = Gate::new();
        page.next(Reply::usual().held_by(&gate));
        let url = network.url() + "/api/v2/status.json";
        let reading = tokio::spawn(async move { client().get(url).timeout(LONG).send().await });
        let before = page.requests().len();
        page.wait_for_requests(before + 1).await;
        network.set(mode);
        gate.open();
        network.set(Mode::Pass);
        assert_eq!(reading.await.unwrap().is_ok(), survives, "{mode:?}");
    }
}
