//! Rules are added and deleted.

use super::super::message::{Failure, Request, attributes};
use super::tables::{INVERT, RuleHeader, act, fra};
use super::{Answer, Asker, number, parse_ip, text};
use crate::errno::Errno;
use crate::net::stack::link::NAME_MAX;
use crate::net::stack::route::Address;
use crate::net::stack::rule::{Action, Rule};
use std::net::IpAddr;
use zerocopy::FromBytes;

/// Most rules: each packet's way may be looked for by all.
const RULES_MAX: usize = 256;

/// What a request says of a rule.
struct Wish {
    rule: Rule,
    /// It says which.
    has_priority: bool,
    has_action: bool,
}

fn parse(request: &Request<'_>) -> Result<Wish, Failure> {
    let (head, _) = RuleHeader::read_from_prefix(request.payload).map_err(|_| Errno::INVAL)?;
    let (v4, longest) = match i32::from(head.family) {
        libc::AF_INET => (true, 32),
        libc::AF_INET6 => (false, 128),
        _ => return Err(Failure::because(Errno::AFNOSUPPORT, "Rule family not supported")),
    };
    if head.dst_len > longest || head.src_len > longest || head.tos != 0 {
        return Err(Failure::because(Errno::INVAL, "Invalid dst or src length"));
    }
    let (mut table, mut priority, mut mask) = (u32::from(head.table), None, None);
    let mut rule = Rule { protocol: 0, inverted: head.flags & INVERT != 0, ..Rule::new(v4, 0, Action::Nothing) };
    let network = |content: &[u8], prefix: u8| -> Result<Address, Failure> {
        let ip: IpAddr = parse_ip(content)?;
        if ip.is_ipv4() == v4 { Ok((ip, prefix)) } else { Err(Errno::INVAL.into()) }
    };
    for (kind, content) in attributes(request.payload, size_of::<RuleHeader>()) {
        match kind {
            fra::DST => rule.to = Some(network(content, head.dst_len)?),
            fra::SRC => rule.from = Some(network(content, head.src_len)?),
            fra::IIFNAME => rule.iif = Some(name(content)?),
            fra::OIFNAME => rule.oif = Some(name(content)?),
            fra::PRIORITY => priority = Some(number(content)?),
            fra::FWMARK => rule.mark = Some((number(content)?, u32::MAX)),
            fra::FWMASK => mask = Some(number(content)?),
            fra::SUPPRESS_PREFIXLEN => rule.suppress = Some(number(content)?).filter(|len| *len != u32::MAX),
            fra::TABLE => table = number(content)?,
            fra::PROTOCOL => rule.protocol = content.first().copied().unwrap_or(0),
            // By ports, users, tunnels: what packets' ways are not looked for by here.
            _ => return Err(Errno::OPNOTSUPP.into()),
        }
    }
    if let (Some((mark, bits)), Some(mask)) = (&mut rule.mark, mask) {
        (*mark, *bits) = (*mark & mask, mask);
    }
    rule.action = match head.action {
        act::TO_TABLE => Action::Table(table),
        act::BLACKHOLE => Action::Fail(Errno::INVAL),
        act::UNREACHABLE => Action::Fail(Errno::NETUNREACH),
        act::PROHIBIT => Action::Fail(Errno::ACCES),
        0 | act::NOTHING => Action::Nothing,
        _ => return Err(Errno::OPNOTSUPP.into()),
    };
    rule.priority = priority.unwrap_or(0);
    Ok(Wish { rule, has_priority: priority.is_some(), has_action: head.action != 0 })
}

fn name(content: &[u8]) -> Result<String, Failure> {
    let name = text(content)?;
    if name.len() >= NAME_MAX { Err(Errno::INVAL.into()) } else { Ok(name.to_owned()) }
}

/// `RTM_NEWRULE`.
pub(super) fn add(asker: &Asker<'_>, request: &Request<'_>) -> Answer {
    let Wish { mut rule, has_priority, .. } = parse(request)?;
    if rule.action == Action::Table(0) {
        // The kernel would find a table that is free; `ip` always names one.
        rule.action = Action::Table(libc::RT_TABLE_MAIN.into());
    }
    asker.change(|layout| {
        let rules = layout.rules_mut();
        if rules.len() >= RULES_MAX {
            return Err(Errno::NOBUFS);
        }
        if !has_priority {
            // Before the first that is not at the front.
            let behind = rules.iter().filter(|old| old.v4 == rule.v4 && old.priority > 0).map(|old| old.priority);
            rule.priority = behind.min().map_or(0, |least| least - 1);
        }
        if request.has(libc::NLM_F_EXCL) && rules.contains(&rule) {
            return Err(Errno::EXIST);
        }
        let at = rules.iter().position(|old| old.v4 == rule.v4 && old.priority > rule.priority).unwrap_or(rules.len());
        rules.insert(at, rule);
        Ok(())
    })?;
    Ok(())
}

/// `RTM_DELRULE`: the first that is as the request says, as far as it says anything.
pub(super) fn delete(asker: &Asker<'_>, request: &Request<'_>) -> Answer {
    let Wish { rule, has_priority, has_action } = parse(request)?;
    let names_table = |action: Action| matches!(action, Action::Table(table) if table > 0);
    asker.change(|layout| {
        let rules = layout.rules_mut();
        let at = rules.iter().position(|old| {
            let by_action = match rule.action {
                Action::Table(0) => matches!(old.action, Action::Table(_)),
                action => !(has_action || names_table(action)) || old.action == action,
            };
            old.v4 == rule.v4
                && by_action
                && (!has_priority || old.priority == rule.priority)
                && (rule.protocol == 0 || old.protocol == rule.protocol)
                && (rule.from.is_none() || old.from == rule.from)
                && (rule.to.is_none() || old.to == rule.to)
                && (rule.iif.is_none() || old.iif == rule.iif)
                && (rule.oif.is_none() || old.oif == rule.oif)
                && (rule.mark.is_none() || old.mark == rule.mark)
        });
        rules.remove(at.ok_or(Errno::NOENT)?);
        Ok(())
    })?;
    Ok(())
}
