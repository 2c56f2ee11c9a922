//! [`Links`] for Linux, through rtnetlink.

use std::io;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::{
    LinkMessageBuilder, LinkUnspec,
    packet_route::{
        AddressFamily,
        address::AddressMessage,
        link::{LinkAttribute, LinkFlags, LinkMessage},
    },
};

use super::{
    addresses,
    rtnl::{Rtnl, is_any, os_error},
};
use crate::links::{LinkError, LinkStatus, Links};

/// Sets up interfaces of this host.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostLinks;

impl Links for HostLinks {
    async fn set_address(&self, interface: &str, address: IpNet) -> Result<(), LinkError> {
        let step = format!("set the address {address}");
        let failed = |source| from_kernel(interface, &step, source);
        let rtnl = Rtnl::connect().map_err(failed)?;
        let index = index_of(&rtnl, interface).await.map_err(failed)?;
        let old = ipv4_of(&rtnl, index).await.map_err(failed)?.into_iter();
        let old = old.filter(|old| net_of(old) != Some(address));
        // The kernel would make this address a secondary one of another address in the same network
        // and delete both together, so delete that one before. Delete all others after, because an
        // interface loses its routes with its last address.
        let shared =
            |old: &AddressMessage| net_of(old).is_some_and(|o| o.trunc() == address.trunc());
        let (before, after): (Vec<_>, Vec<_>) = old.partition(shared);
        delete_all(&rtnl, before).await.map_err(failed)?;
        let add = rtnl
            .handle
            .address()
            .add(index, address.addr(), address.prefix_len());
        match add.execute().await.map_err(os_error) {
            Err(error) if is_any(&error, &[libc::EEXIST]) => {}
            other => other.map_err(failed)?,
        }
        delete_all(&rtnl, after).await.map_err(failed)
    }

    async fn set_mtu(&self, interface: &str, mtu: u32) -> Result<(), LinkError> {
        change(interface, &format!("set the MTU to {mtu}"), |message| {
            message.mtu(mtu)
        })
        .await
    }

    async fn status(&self, interface: &str) -> Result<LinkStatus, LinkError> {
        let failed = |source| from_kernel(interface, "ask for its state", source);
        let rtnl = Rtnl::connect().map_err(failed)?;
        let link = by_name(&rtnl, interface).await.map_err(failed)?;
        let addresses = ipv4_of(&rtnl, link.header.index).await.map_err(failed)?;
        let mtu = |attribute: &LinkAttribute| match attribute {
            LinkAttribute::Mtu(mtu) => Some(*mtu),
            _ => None,
        };
        Ok(LinkStatus {
            addresses: addresses.iter().filter_map(net_of).collect(),
            mtu: link.attributes.iter().find_map(mtu).unwrap_or_default(),
            up: link.header.flags.contains(LinkFlags::Up),
        })
    }

    async fn set_up(&self, interface: &str) -> Result<(), LinkError> {
        change(interface, "bring it up", LinkMessageBuilder::up).await
    }
}

async fn ipv4_of(rtnl: &Rtnl, index: u32) -> io::Result<Vec<AddressMessage>> {
    addresses::list(rtnl, AddressFamily::Inet, Some(index)).await
}

async fn change(
    interface: &str,
    step: &str,
    edit: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec> + Send,
) -> Result<(), LinkError> {
    let failed = |source| from_kernel(interface, step, source);
    let rtnl = Rtnl::connect().map_err(failed)?;
    let index = index_of(&rtnl, interface).await.map_err(failed)?;
    let message = edit(LinkUnspec::new_with_index(index)).build();
    let changed = rtnl.handle.link().set(message).execute().await;
    changed.map_err(os_error).map_err(failed)
}

/// Returns the address in `message` with its prefix length.
fn net_of(message: &AddressMessage) -> Option<IpNet> {
    IpNet::new(addresses::local(message)?, message.header.prefix_len).ok()
}

async fn delete_all(rtnl: &Rtnl, addresses: Vec<AddressMessage>) -> io::Result<()> {
    for address in addresses {
        let deleted = rtnl.handle.address().del(address).execute().await;
        match deleted.map_err(os_error) {
            // The kernel removes secondary addresses with their primary one.
            Err(error) if is_any(&error, &[libc::EADDRNOTAVAIL]) => {}
            other => other?,
        }
    }
    Ok(())
}

/// Returns the index of the interface `name`. The error is `ENODEV` where it does not exist.
pub(super) async fn index_of(rtnl: &Rtnl, name: &str) -> io::Result<u32> {
    Ok(by_name(rtnl, name).await?.header.index)
}

async fn by_name(rtnl: &Rtnl, name: &str) -> io::Result<LinkMessage> {
    let request = rtnl.handle.link().get().match_name(name.to_owned());
    let mut found = request.execute();
    let message = found.try_next().await.map_err(os_error)?;
    message.ok_or_else(missing)
}

/// Returns the name of the interface `index`. The error is `ENODEV` where it does not exist.
pub(super) async fn name_of(rtnl: &Rtnl, index: u32) -> io::Result<String> {
    let mut found = rtnl.handle.link().get().match_index(index).execute();
    let message = found.try_next().await.map_err(os_error)?;
    message.as_ref().and_then(name).ok_or_else(missing)
}

/// Returns the name in `message`.
pub(super) fn name(message: &LinkMessage) -> Option<String> {
    let mut attributes = message.attributes.iter();
    attributes.find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}

fn missing() -> io::Error {
    io::Error::from_raw_os_error(libc::ENODEV)
}

fn from_kernel(interface: &str, step: &str, source: io::Error) -> LinkError {
    let interface = interface.to_owned();
    let step = step.to_owned();
    if is_any(&source, &[libc::ENODEV]) {
        LinkError::Missing { interface }
    } else if is_any(&source, &[libc::EPERM, libc::EACCES]) {
        LinkError::Permission { interface, step }
    } else {
        LinkError::Kernel {
            interface,
            step,
            source,
        }
    }
}
