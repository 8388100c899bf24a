//! What lists of members there are, and what is said of lines that are none.

use super::*;
use proptest::prelude::*;

const THREE: &str = "server.1=a:1:2;9\nserver.2=b:1:2;9\nserver.3=c:1:2:observer;9\n";

fn three() -> Members {
    Members::parse(THREE).unwrap()
}

fn ids(members: &Members) -> Vec<u8> {
    members.servers().keys().map(|sid| sid.0).collect()
}

#[test]
fn servers_leave_and_join_and_one_that_joins_again_has_its_new_line() {
    let four = three().change(&["2", " 9 "], &["server.4=d:1:2;9", "server.3=c:1:2;9"]);
    let four = four.unwrap();
    assert_eq!(ids(&four), [1, 3, 4]);
    assert_eq!(four.membership().voters.len(), 3, "3 has a vote by now");
    assert!(four.membership().observers.is_empty());
}

#[test]
fn what_cannot_join_is_refused_in_words() {
    let problem = |leaving: &[&str], joining: &[&str]| {
        let error = three().change(leaving, joining).unwrap_err();
        error.to_string()
    };
    assert!(problem(&["x"], &[]).contains("leaving: `x` cannot be used"));
    assert!(problem(&[], &["server.4"]).contains("server.4: "));
    assert!(problem(&[], &["server.4=d:1:2"]).contains("server.4 has no port for clients"));
    assert!(problem(&[], &["server.0=d:1:2;9"]).contains("server.0: `0` cannot be used"));
    assert!(problem(&[], &["weight.1=2"]).contains("`weight.1=2` is no server"));
    assert!(problem(&[], &["server.4=a:5:2;6"]).contains("server.4 and server.1 share a:2"));
    assert!(problem(&["1", "2"], &[]).contains("every server is an observer"));
}

#[test]
fn addresses_that_stand_for_all_are_not_shared() {
    let joining = "server.4=d:1:2;0.0.0.0:9";
    let zero = three().change(&[], &["server.5=e:1:2;0.0.0.0:9"]).unwrap();
    assert_eq!(ids(&zero.change(&[], &[joining]).unwrap()), [1, 2, 3, 4, 5]);
}

#[test]
fn a_list_with_weights_is_replaced_whole() {
    let weighted = Members::parse(&format!("{THREE}group.1=1:2\nweight.1=3")).unwrap();
    let error = weighted.change(&["2"], &[]).unwrap_err().to_string();
    assert!(
        error.contains("groups and weights; give the whole list"),
        "{error}"
    );
}

#[test]
fn a_version_is_known_by_its_digits_and_what_zookeeper_wrote_is_none() {
    assert_eq!(three().version(), None);
    let agreed = three().proposed_at(Zxid(0x1_0000_0005));
    let shown = agreed.to_string();
    assert!(shown.ends_with("\nversion=0000000100000005"), "{shown}");
    assert_eq!(Members::parse(&shown), Ok(agreed));
    let of_zookeeper = format!("{THREE}version=100000005");
    assert_eq!(Members::parse(&of_zookeeper).unwrap().version(), None);
}

#[test]
fn a_list_may_stand_in_one_line_and_holds_nothing_else() {
    let text = THREE.replace('\n', ",");
    assert_eq!(Members::parse(&text), Ok(three()));
    let problem = |text: &str| Members::parse(text).unwrap_err().problem;
    assert!(problem("server.1=a:1:2,hello").contains("`hello` has no ="));
    assert!(problem("server.1=a:1:2,tickTime=5").contains("`tickTime` is not about members"));
    assert!(problem("server.1=a:1:2,server.1=b:1:2").contains("a second line for server.1"));
    assert!(problem("").contains("every server is an observer"));
}

proptest! {
    #[test]
    fn an_address_is_read_back_as_it_is_shown(
        host in "[a-z][a-z0-9.-]{0,10}|::1|10\\.0\\.0\\.1",
        port in 1..=u16::MAX,
        election_port in 1..=u16::MAX,
        observer: bool,
        client in prop::option::of(("|[a-z]{1,5}|::", 1..=u16::MAX)),
    ) {
        let address = PeerAddress {
            peer: Endpoint { host, port },
            election_port,
            observer,
            client: client.map(|(host, port)| Endpoint { host, port }),
        };
        prop_assert_eq!(address.to_string().parse::<PeerAddress>(), Ok(address));
    }

    #[test]
    fn no_text_makes_a_list_panic(text in "(server|group|weight|version|)[.=:;,a-f0-9\\[\\]\n]{0,40}") {
        let _ = Members::parse(&text);
        let _ = three().change(&[&text], &[&text]);
    }
}
