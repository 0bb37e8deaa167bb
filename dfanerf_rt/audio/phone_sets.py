"""Phone names of recorded-speech synthesisers as IPA: one table for each phone set.

Sources: the phone definitions that Festival 2.5 and its language packages install (radio_phones.scm,
italian_phoneset.scm, finnish_phones.scm, czech.scm, upc_catalan_phones-central.scm, msu_ru_nsh_phoneset.scm, and
hindi_, marathi_ and telugu_phones.scm, which are the same); Flite's English voices use the radio set too.
"""

# ruff: noqa: RUF001 - these are phonetic symbols, not look-alikes by mistake

from __future__ import annotations

from dfanerf_rt.audio.speech import SILENCE
from dfanerf_rt.errors import AudioError


def _table(pairs: str, pauses: str) -> dict[str, str]:
    """Read "phone:IPA" pairs; a phone that stands alone is its own IPA symbol, one that ends in ":" is long."""
    table = dict.fromkeys(pauses.split(), SILENCE)
    for pair in pairs.split():
        phone, _, ipa = pair.partition("=")
        table[phone] = ipa or phone
    return table


_RADIO = """
aa=ɑ ae=æ ah=ʌ ao=ɔ aw=aʊ ax=ə axr=ɚ ay=aɪ eh=ɛ er=ɝ ey=eɪ ih=ɪ iy=i ow=oʊ oy=ɔɪ uh=ʊ uw=u
b ch=tʃ d dh=ð dx=ɾ el=l̩ em=m̩ en=n̩ f g=ɡ hh=h hv=ɦ jh=dʒ k l m n ng=ŋ nx=ɾ̃ p r=ɹ s sh=ʃ t th=θ v w y=j z zh=ʒ
"""
_ITALIAN = """
i e E=ɛ a o O=ɔ u i1=ˈi e1=ˈe E1=ˈɛ a1=ˈa o1=ˈo O1=ˈɔ u1=ˈu
j w p t k b d g=ɡ f s S=ʃ v z Z=ʒ ts tS=tʃ dz dZ=dʒ m n J=ɲ ng=ŋ nf=ɱ l L=ʎ r
"""
_FINNISH_SHORT = "a e i o u y @=æ 7=ø &=ə p t k b d g=ɡ f T=θ D=ð s z S=ʃ Z=ʒ h v=ʋ m n N=ŋ l L=ɫ r j w"
_CZECH = """
_=ʔ a a:=aː b c=ts c~=tʃ ch=x d d~=ɟ dz dz~=dʒ e=ɛ e:=ɛː f g=ɡ h=ɦ i=ɪ i:=iː j k l m n n*=ŋ n~=ɲ o o:=oː p r
r~=r̝ r~*=r̝̊ s s~=ʃ t t~=c u u:=uː v z z~=ʒ
"""
_CATALAN = """
ax=ə a a1=ˈa b d e e1=ˈe E=ɛ E1=ˈɛ f g=ɡ i i1=ˈi j J=ɲ k l L=ʎ m n o o1=ˈo O=ɔ O1=ˈɔ p r=ɾ rr=r s S=ʃ t u u1=ˈu w z
Z=ʒ
"""
_RUSSIAN = """
ii=ˈi yy=ˈɨ uu=ˈu ee=ˈe oo=ˈo aa=ˈa a=ɐ e=ɪ i=ɪ y=ɨ u=ʊ ae=ə ay=ə ur=ʊ
p pp=pʲ b bb=bʲ t tt=tʲ d dd=dʲ k kk=kʲ g=ɡ gg=ɡʲ c=ts ch=tɕ f ff=fʲ v vv=vʲ s ss=sʲ z zz=zʲ sh=ʂ sch=ɕ zh=ʐ h=x hh=xʲ
m mm=mʲ n nn=nʲ l=ɫ ll=lʲ r rr=rʲ j
"""
# The recordings have no dentals but t and d, and few aspirates; the others are spoken as a stop and "h".
_INDIC = """
a=ʌ aa=aː ih=ɪ iy=iː uh=ʊ uw=uː eh=e ee=eː ay=aɪ oh=o oo=oː aw=aʊ @=æ
f k g=ɡ ch=tʃ T=ʈ D=ɖ N=ɳ th=t̪ dh=d̪ n p b m y=j r l v=ʋ L=ɭ R=ɻ s sh=ʃ j=dʒ h ksh=kʂ sri=ʃri x=ks kh=kʰ gh=ɡʰ td=ʈ
tth=t̪ʰ ddh=d̪ʰ bh=bʰ zh=ɻ w
"""


def _with_long(pairs: str) -> str:
    """The same phones once more, long: "a=æ" also gives "a:=æː"."""
    split = [pair.partition("=") for pair in pairs.split()]
    return " ".join([pairs, *(f"{phone}:={ipa or phone}ː" for phone, _, ipa in split)])


PHONE_SETS: dict[str, dict[str, str]] = {
    "radio": _table(_RADIO, "pau h# brth ssil"),
    "italian": _table(_ITALIAN, "#"),
    "finnish": _table(_with_long(_FINNISH_SHORT), "# ##"),
    "czech": _table(_CZECH, "#"),
    "catalan": _table(_CATALAN, "pau _ #"),
    "russian": _table(_RUSSIAN, "pau"),
    "indic": _table(_INDIC, "pau"),
}
"""Phone to IPA for every phone set; pauses are ``"_"``."""


def to_ipa(phone_set: str, phone: str) -> str:
    """The IPA name of a phone.

    Args:
        phone_set: a key of :data:`PHONE_SETS`.
        phone: the synthesiser's name.

    Raises:
        AudioError: the set has no such phone.
    """
    ipa = PHONE_SETS[phone_set].get(phone)
    if ipa is None:
        raise AudioError(f"the phone {phone!r} is not in the phone set {phone_set!r}")
    return ipa
