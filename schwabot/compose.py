"""From what was typed to checked settings, and errors a person can act on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from hydra.errors import HydraException, MissingConfigException
from omegaconf import BooleanNode, DictConfig, FloatNode, IntegerNode, ListConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    ConfigTypeError,
    KeyValidationError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ReadonlyConfigError,
    ValidationError,
)
from yaml import YAMLError, safe_load  # type: ignore[import-untyped]

from schwabot.config import FEES, GROUPS, SOURCES, InstrumentConfig, RunConfig, either
from schwabot.errors import ConfigError, closest
from schwabot.secrets import MASK, refuse_secret, scrub
from schwabot.signals.settings import PolicyConfig
from schwabot.tensors.device import no_such_kind
from schwabot.training.fit_settings import FitConfig

SECRET = re.compile(r"key|secret|passw|token", re.IGNORECASE)
STATE_FEES = f"; state {' and '.join(FEES)} in bp of the notional (10 is 0.1 %), 0 only where the venue charges nothing"
WANTED = {BooleanNode: "true or false", IntegerNode: "a whole number", FloatNode: "a number"}
_UNREADABLE = re.compile("LexerNoViableAlt|token recognition error|no viable alternative|(extraneous|mismatched) input")


def to_settings(config: DictConfig) -> RunConfig:
    """Turn the composed configuration into dataclasses and check every range.

    Raises:
        ConfigError: a value that can't be used, with the valid choices.
    """
    _refuse_extra(config)
    try:
        settings = OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        raise explain(error) from error
    assert isinstance(settings, RunConfig)
    settings.skill = replace(settings.skill, horizons_ms=tuple(settings.skill.horizons_ms))  # YAML knows lists only
    settings.instruments = {name: _instrument(name, entry) for name, entry in settings.instruments.items()}
    check_ranges(settings)
    return settings


def _instrument(name: str, entry: object) -> InstrumentConfig:
    """One typed entry. Typed here because Hydra can't add ``+instruments.mine={...}`` to a typed dict."""
    try:
        merged = OmegaConf.merge(OmegaConf.structured(InstrumentConfig), entry)
        typed = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        hint = STATE_FEES if isinstance(error, MissingMandatoryValue) and error.key in FEES else ""
        raise ConfigError(f"instruments.{name}.{explain(error)}{hint}") from error
    except ValueError as error:
        raise ConfigError(f"instruments.{name}={entry!r}: use {{stream: VENUE:BASE/QUOTE, tick_size: ...}}") from error
    assert isinstance(typed, InstrumentConfig)
    typed.check(f"instruments.{name}")
    return typed


def _refuse_extra(node: DictConfig, where: str = "") -> None:
    """Hydra lets ``+name=value`` add what a dataclass does not have."""
    schema = OmegaConf.get_type(node)
    known = [one.name for one in fields(schema)] if schema is not None and is_dataclass(schema) else None
    for key in map(str, node):
        name = f"{where}{key}"
        if known is None or key not in known:
            refuse_secret(name)
        if known is not None and key not in known:
            raise _no_such_setting(name, key, known, node._get_root())
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_missing():
            _refuse_extra(child, f"{name}.")


def check_ranges(node: object) -> None:
    """Let every dataclass in a tree of settings check its ranges.

    Raises:
        ConfigError: a value that can't be used.
    """
    if isinstance(node, dict):
        for value in node.values():
            check_ranges(value)
    elif is_dataclass(node):
        check: Callable[[], None] | None = getattr(node, "check", None)
        if check is not None:
            check()
        for name in node.__dataclass_fields__:
            check_ranges(getattr(node, name))


def mask_secrets(tree: Any) -> Any:
    """Copy of nested dicts and lists in which every known secret, and what sits under a secret's name, is hidden.

    Example:
        >>> mask_secrets({"api_key": "k", "venue": {"Password": "p", "name": "x"}, "token": None})
        {'api_key': '***', 'venue': {'Password': '***', 'name': 'x'}, 'token': None}
    """
    if isinstance(tree, Mapping):
        return {
            key: MASK if SECRET.search(str(key)) and value is not None else mask_secrets(value)
            for key, value in tree.items()
        }
    if isinstance(tree, list | tuple):
        return [mask_secrets(value) for value in tree]
    return scrub(tree) if isinstance(tree, str) else tree


def normalise_arguments(arguments: Iterable[str]) -> list[str]:
    r"""Let ``device=x``, ``+device=x`` and ``++device=x`` mean the same, and so for every group.

    Hydra wants ``+device`` (the default is a plain entry so that this spelling works) and the others bare.

    Example:
        >>> normalise_arguments(["device=cuda", "++device=cpu", "+source=capture", "+source.glob=x"])
        ['+device=cuda', '+device=cpu', 'source=capture', '+source.glob=x']

    ``policy=NAME`` and a policy's parameters are not Hydra's to know; they mean ``policy.name`` and
    ``policy.parameters``:

        >>> normalise_arguments(["+policy=mine:best", "policy.enter_bp=1.5", "policy.trade=a:B/C"])
        ["policy.name='mine:best'", '++policy.parameters.enter_bp=1.5', "policy.trade=['a:B/C']"]

    Names of streams as keys are written as they are, with quotes or without:

        >>> print(*normalise_arguments(['execution.risk.max_lots={"a:B/C": 3}', "execution.risk.max_lots={a:B/C: 3}"]))
        ++execution.risk.max_lots={a\:B/C:3} ++execution.risk.max_lots={a\:B/C:3}
    """
    out: list[str] = []
    for argument in arguments:
        if argument in ("-m", "--multirun"):
            out.insert(0, argument)  # Hydra's parser wants it before the settings
            continue
        name, equals, value = argument.partition("=")
        bare = name.lstrip("+")
        if equals and (bare == "policy" or bare.startswith("policy.")):
            argument = _policy_argument(bare, value)
        elif equals and bare.startswith("fit."):
            argument = _fit_argument(bare, value)
        elif equals and (bare == "sweep.over" or bare.startswith("sweep.over.")):
            argument = f"++{bare}={value}"  # ranges are added to a mapping that is empty
        elif equals and bare == "execution.risk.max_lots":
            argument = _lots_argument(bare, value)
        elif equals and bare == "device":
            argument = f"+device={value}"
        elif equals and bare in GROUPS:
            argument = f"{bare}={value}"
        if (
            equals
            and bare != "policy"
            and bare in (*GROUPS, "device", "modules")
            and re.fullmatch(r"[-+.\d]+|true|false|null", value, re.IGNORECASE)
        ):
            argument = f"{argument.partition('=')[0]}='{value}'"  # Hydra wants the name of an option to be text
        out.append(argument)
    return out


def _lots_argument(name: str, value: str) -> str:
    """Hydra wants keys without quotes, and colons in them escaped."""
    try:
        lots = safe_load(value)
    except YAMLError:
        return f"++{name}={value}"
    if not isinstance(lots, dict):
        return f"{name}={value}"
    escaped = {re.sub(r"([:,{}= ])", r"\\\1", str(stream)): most for stream, most in lots.items()}
    return f"++{name}={{{','.join(f'{stream}:{most}' for stream, most in escaped.items())}}}"


def _policy_argument(name: str, value: str) -> str:
    """What ``policy=...`` and ``policy.NAME=...`` mean to Hydra.

    Example:
        >>> _policy_argument("policy", "threshold,my/file.py:best")
        "policy.name='threshold','my/file.py:best'"
        >>> _policy_argument("policy", "null")
        'policy.name=null'
    """
    first = name.removeprefix("policy").lstrip(".").partition(".")[0]
    if name == "policy":
        if value == "default":
            return "policy=default"
        return f"policy.name={value if value in ('null', '') else ','.join(map(_quoted, value.split(',')))}"
    if name in ("policy.trade", "policy.signals") and value and value[0] not in "[{$":
        return f"{name}=[{','.join(map(_quoted, value.split(',')))}]"
    if name in ("policy.name", "policy.leader") and value not in ("null", ""):
        return f"{name}={','.join(map(_quoted, value.split(',')))}"
    if first == "parameters":
        return f"++{name}={value}"
    if first in (one.name for one in fields(PolicyConfig)):
        return f"{name}={value}"
    return f"++policy.parameters.{name.removeprefix('policy.')}={value}"


def _fit_argument(name: str, value: str) -> str:
    """What ``fit.NAME=...`` means to Hydra; ``fit.SIGNAL.NAME`` is a parameter of a signal of one's own.

    Example:
        >>> _fit_argument("fit.signals", "mine:flow"), _fit_argument("fit.flow.tau_ms", "5")
        ("fit.signals=['mine:flow']", '++fit.signal_parameters.flow.tau_ms=5')
    """
    _, first, *rest = name.split(".")
    if name == "fit.signals" and value and value[0] not in "[{$":
        return f"{name}=[{','.join(map(_quoted, value.split(',')))}]"
    if first == "signal_parameters" and rest:
        return f"++{name}={value}"
    if rest and first not in (one.name for one in fields(FitConfig)):
        return f"++fit.signal_parameters.{name.removeprefix('fit.')}={value}"
    return f"{name}={value}"


def _quoted(value: str) -> str:
    """A value in quotes, so that a colon, a bracket or a space in it is a part of it."""
    return value if value[:1] in ("'", '"', "$") else "'" + value.strip().replace("'", "\\'") + "'"


def explain(error: Exception, *, elsewhere: bool = True) -> ConfigError:
    """Say in one paragraph what is wrong with a setting, and what would be right.

    Args:
        error: of Hydra or OmegaConf.
        elsewhere: name settings of other sections too, which whoever asked can set.
    """
    cause = error.__cause__
    inner = error if isinstance(error, OmegaConfBaseException) else cause
    if isinstance(error, MissingConfigException) and error.options is not None:
        return _explain_option(error)
    if isinstance(inner, ConfigKeyError | ConfigAttributeError):
        return _explain_key(inner, elsewhere)
    if isinstance(inner, MissingMandatoryValue):
        return ConfigError(f"{_dotted(inner.full_key)} has no value: add {_dotted(inner.full_key)}=...")
    if isinstance(inner, ValidationError | ConfigTypeError | KeyValidationError):
        return _explain_type(inner)
    if isinstance(inner, ReadonlyConfigError):
        return ConfigError(f"{_dotted(inner.full_key)} can't be changed")
    if isinstance(error, HydraException):
        said = " ".join(str(error).split()).partition(" See https://")[0]
        if group := re.match(r"Could not override '(.+?)'\. No match in the defaults list", said):
            return ConfigError(f"{group[1]} is no group to choose from; groups: {', '.join((*GROUPS, 'device'))}")
        said += "; write name=value, see --help" * ("missing EQUAL" in said)
        return _explain_grammar(said) if _UNREADABLE.search(said) else ConfigError(said)
    return ConfigError(_first_line(error))


def _explain_grammar(said: str) -> ConfigError:
    """What Hydra could not take apart; it does not always say which setting that is in."""
    whole = re.search(r"LexerNoViableAltException: (.+?)(?: \^)?$|Error parsing override '(.+)' \w+ input ", said)
    where = (whole[1] or whole[2]) if whole else re.sub(r"^.*?((?:input|at:) '.*?')(?: expecting.*)?$", r"\1", said)
    names = "; names within braces stand without quotes: '+source.streams={h*: \"a:B/C\"}'" * ("{" in where)
    quotes = f"into quotes, within those of the shell, e.g. \"source.delimiter=';'\"{names}"
    return ConfigError(f"can't read {where}: put a value with = ; | ( {{ , or other special characters {quotes}")


def _explain_option(error: MissingConfigException) -> ConfigError:
    group, _, option = (error.missing_cfg_file or "").rpartition("/")
    options = sorted(error.options or ())
    if group == "device":
        return ConfigError(no_such_kind("device=", option))
    return ConfigError(f"{group}={option} is not a choice{closest(option, options)}; use {either(options)}")


def _explain_key(error: OmegaConfBaseException, elsewhere: bool) -> ConfigError:
    parent = error.parent_node
    known = parent if isinstance(parent, DictConfig) else OmegaConf.create()
    names = [str(name) for name in known if name != "hydra"]
    root = known._get_root() if elsewhere else None
    return _no_such_setting(_dotted(error.full_key) or str(error.key), str(error.key), names, root)


def _explain_type(error: OmegaConfBaseException) -> ConfigError:
    """A value of the wrong type, with one of the right type."""
    name, said = _dotted(error.full_key), _first_line(error)
    parent = error.parent_node
    # A merge that fails names no key: then the setting itself is given.
    of_key = isinstance(parent, DictConfig) and error.key is not None
    # A name of one's own in a dict is not there yet, which is no error to report here.
    node = parent._get_node(error.key, validate_access=False, validate_key=False) if of_key else parent
    if isinstance(node, ListConfig):
        now = OmegaConf.to_container(node)
        shown = ",".join(str(one).lower() for one in now) if isinstance(now, list) and now else "a,b"
        return ConfigError(f"{name}: a list is wanted, e.g. '{name}=[{shown}]'")
    if isinstance(node, DictConfig):
        names = [f"{name}.{one}=..." for one in map(str, node)] or [f"'+{name}={{a: b}}'"]
        return ConfigError(f"{name}: holds several settings, set one of them: {', '.join(names[:12])}")
    whole = re.search(r"Value '(\S+)' of type 'float' could not be converted to Integer", said)
    hint = f", write {float(whole[1]):.0f}" if whole and float(whole[1]).is_integer() else ""
    if of_key and node is None and re.match(r"Value '\S+: ", said):
        hint = "; within braces a colon that belongs to a name is written \\:, e.g. {venue\\:BASE/QUOTE: 1}"
    for of, wanted in WANTED.items():
        hint = hint or f"; use {wanted}" * isinstance(node, of)
    return ConfigError(f"{name}: {said}{hint}")


def _no_such_setting(full: str, key: str, names: Iterable[str], root: object) -> ConfigError:
    where = full.removesuffix(key).rstrip(".")
    place = f"settings of {where}" if where else "settings"
    known = sorted(names)
    homes = [name for name in _homes(key, root) if name != full]
    of = [name for name, schema in SOURCES.items() if key in (one.name for one in fields(schema))]
    near = closest(key, known)
    hint = f", did you mean {either(homes)}?" if homes and not (where and near) else near
    if where in ("", "source") and of and not homes:
        hint = f", source.{key} is a setting of source={either(of)}: add that"
    if where == "instruments":  # names of one's own
        hint += f", add a new one with '+{full}=...'"
    elif not known:
        typed = key.replace(":", "\\:")  # as Hydra wants it
        return ConfigError(f"{full}: there is no such setting, add a new one with '+{where}={{{typed}: \"...\"}}'")
    return ConfigError(f"{full}: there is no such setting{hint}; {place}: {', '.join(known)}")


def _homes(key: str, root: object) -> list[str]:
    """Every setting whose last part is ``key``, in full."""
    found: list[str] = []

    def walk(node: object, where: str) -> None:
        if not isinstance(node, DictConfig) or node._is_none() or node._is_missing():
            return
        for name in map(str, node):
            if name == key:
                found.append(where + name)
            if name == "instruments":
                found.extend(
                    ["instruments.NAME." + key] if key in (one.name for one in fields(InstrumentConfig)) else []
                )
            elif name != "hydra":
                walk(node._get_node(name), f"{where}{name}.")

    walk(root, "")
    return found


def _dotted(full_key: object) -> str:
    return "" if full_key is None else str(full_key)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
