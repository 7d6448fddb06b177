"""How secrets look: numbers of cards by brand, tokens by issuer, and what people write before a password or a code."""

import re
from enum import StrEnum
from typing import Final


class SecretKind(StrEnum):
    """What kind of secret it is."""

    CARD = "card"
    PASSWORD = "password"  # noqa: S105
    TOKEN = "token"  # noqa: S105
    CODE = "code"


DIGITS: Final = re.compile(r"\d(?:[ .\u00a0\u2009-]?\d){12,}")
"""At least as many digits as the shortest number of a card has."""
SEPARATED: Final = re.compile(r"\d+")
SHORTEST_CARD: Final = 13
LONGEST_CARD: Final = 19
MOST_GROUPS: Final = 8
"""Groups of digits that a number of a card is written in, at most."""
BRANDS: Final = (
    (re.compile(r"4"), frozenset({13, 16, 19})),  # Visa
    (re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), frozenset({16})),  # Mastercard
    (re.compile(r"3[47]"), frozenset({15})),  # American Express
    (re.compile(r"6011|64[4-9]|65"), frozenset({16, 17, 18, 19})),  # Discover
    (re.compile(r"30[0-5]|3095|36|3[89]"), frozenset({14, 15, 16, 17, 18, 19})),  # Diners Club
    (re.compile(r"35(?:2[89]|[3-8])"), frozenset({16, 17, 18, 19})),  # JCB
    (re.compile(r"62|81"), frozenset({16, 17, 18, 19})),  # UnionPay
    (re.compile(r"220[0-4]|9792|60|508|50[67]|606282|636297|636368|5066"), frozenset({16, 17, 18, 19})),  # by country
    (re.compile(r"50[12]|50[38]|5[6-8]|6304|639|67[56]"), frozenset({13, 14, 15, 16, 17, 18, 19})),  # Maestro
)
"""How numbers of a brand begin and how many digits they may have: without this, one of ten numbers of an order would
look like a card. Of countries: Mir, Troy, RuPay, Verve, Elo, Hipercard."""
OTHER_NUMBER: Final = re.compile(
    r"(?:order|tracking|track|parcel|shipment|invoice|imei|serial|ticket|reference|ref|pedido|rastreo|rastreio|"
    r"bestellung|bestellnummer|sendung|sendungsnummer|commande|colis|suivi|ordine|spedizione|заказ\w{0,3}|трек|"
    r"siparis|sipariş|kargo|zamowienie|zamówieni\w|przesylka|przesyłka|pesanan|resi|don hang|đơn hàng|طلب|订单|运单|"
    r"快递)(?:\s?(?:number|num|no|nr|id|code|n))?[\s:#.°º号单\u2116-]{0,8}$",
    re.IGNORECASE,
)
"""What stands before a number of something else."""

PASSWORD: Final = re.compile(
    r"(?:(?<![\w•])(?P<short>pass|pw|clave)|(?<![\w•])(?:passwords?|passwort|kennwort|passwd|passcode|passphrase|pwd|psw|contraseña|"
    r"contrasena|contraseñas|senhas?|mot de passe|mdp|password|parola d.accesso|parola|hasł[oa]|haslo|şifre(?:si|m)?|"
    r"sifre(?:si|m)?|parola(?:s[iı]|m)?|kata sandi|sandi|mật khẩu|mat khau|mk)|парол[ья]|كلمة\s?(?:ال)?(?:سر|مرور)|"
    r"كلمة المرور|الباسورد|باسورد|密码|密碼|口令|पासवर्ड)"
    r"(?P<link>\s{0,3}(?::|=|\uff1a|->|=>|→)\s{0,3}|\s{1,3}(?:is|are|es|ist|est|é|è|e|это|to|adalah|la|là|hai|jest|هي|هو)"
    r"(?=[\s:])\s{0,3}:?\s{0,3}|\s{0,2}[是为]\s{0,2}|\s{1,3}-\s{1,3}|\s{1,3})"
    r"(?P<secret>[^\s\u3000-\u9fff\uff00-\uffef]+)",
    re.IGNORECASE,
)
STRONG: Final = frozenset(":=\uff1a→>")
NO_PASSWORD_HERE: Final = re.compile(
    r"\b(?:battle|season|game|xbox|boarding|bus|train|day|week|month|ski|elite|premium|gold|royale?|prime|event|vip|hall|"
    r"mountain|free|level|monthly|first|second|next|bypass|will|can|to|please|license|licence|product|steam|cd|windows|"
    r"activation|serial|hot|car|house|room|door|piano)[\s-]$",
    re.IGNORECASE,
)
"""Before a short word that means more than a password: what is played, ridden, opened or handed on."""
PRODUCT_KEY: Final = re.compile(r"[A-Z0-9]{4,6}(?:-[A-Z0-9]{4,6}){2,5}\W*")
SHORTEST_PASSWORD: Final = 4
SHORTEST_CODE: Final = 3
MIXED: Final = re.compile(r"\d|[^\W_][@#$%^&*!+=_][^\W_]|[@#$%^&*+=_!]{2}")
HARD_TO_GUESS: Final = re.compile(rf"{MIXED.pattern}|[a-z][A-Z]")
NOT_THE_NEXT: Final = re.compile(r"(?:https?://|www\.)|\d{1,2}[:/.]\d{2}|\W*$|\d{1,3}\W*$", re.IGNORECASE)
"""A link, a time, a small number: what follows the word in talk about passwords."""
FIELD_END: Final = re.compile(
    r"[ \t]*(?:$|[\n|/;,]|(?:e-?mail|mail|login|user|username|code|2fa|pin|id|and|y|e|und|et|и)(?![\w•]))",
    re.IGNORECASE,
)
TALK: Final = frozenset(
    (
        "changed", "wrong", "incorrect", "correct", "invalid", "unknown", "none", "same", "below", "above", "empty",
        "missing", "required", "needed", "reset", "expired", "forgotten", "forgot", "please", "sent", "new", "old",
        "see", "check", "your", "the", "not", "was", "not-working", "hidden", "secret", "private", "cambiada",
        "incorrecta", "igual", "errada", "mudada", "trocada", "falsch", "geändert", "neu", "gleich", "changé", "faux",
        "sbagliata", "cambiata", "неверный", "изменен", "тот", "прежний", "zmienione", "yanlış", "değişti", "salah",
        "diubah", "sai", "đổi",
    )
)  # fmt: skip
"""What follows the word when there is only talk of passwords."""

TOKEN: Final = re.compile(
    r"(?<![\w•-])(?:eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?|(?:sk|rk)_(?:live|test)_\w{16,}|whsec_[\w+/=-]{16,}|"
    r"gh[pousr]_\w{30,}|github_pat_\w{40,}|glpat-[\w-]{20,}|xox[abeoprs]-[\w-]{10,}|xapp-[\w-]{20,}|"
    r"(?:AKIA|ASIA)[0-9A-Z]{16}|AIza[\w-]{35}|ya29\.[\w-]{20,}|GOCSPX-[\w-]{20,}|sk-[\w-]{20,}|npm_\w{36}|pypi-[\w-]{50,}|"
    r"SG\.[\w-]{16,}\.[\w-]{16,}|shp(?:at|ca|pa|ss)_\w{32}|hf_\w{30,}|dop_v1_\w{40,}|dck_[\w-]{20,}|"
    r"\d{8,10}:AA[\w-]{32,}|[MNO][\w-]{23,27}\.[\w-]{6}\.[\w-]{27,})(?![\w-])"
    r"|(?:discord(?:app)?\.com/api/webhooks|hooks\.slack\.com/services)/[\w/-]{20,}"
    r"|-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----(?:[^-]+(?:-----END [A-Z ]{0,20}PRIVATE KEY-----)?)?",
    re.ASCII,
)
SEED: Final = re.compile(
    r"(?:seed|recovery|mnemonic|backup|secret)(?: (?:phrase|words|seed))+[^\w\n•]{1,5}(?:is |are )?"
    r"(?P<secret>[a-z]{3,8}(?:[ ,]{1,2}[a-z]{3,8}){11,23})(?![a-z])",
    re.IGNORECASE,
)
_CODE_NAME: Final = (
    r"(?:(?<![\w•])(?:otp|2fa|tan|one[- ]time[- ](?:code|password|pin|passcode)|"
    r"(?:verification|security|login|sign[- ]in|auth|authentication|authenticator|confirmation|guard|backup|"
    r"2fa|whatsapp|telegram|google|sms) (?:code|pin)|"
    r"cvv2?|cvc2?|c[óo]digo (?:de )?(?:verifica(?:ci[óo]n|[çc][ãa]o)|seguridad|seguran[çc]a|acceso|acesso|sms|"
    r"confirmaci[óo]n)|(?:best[äa]tigungs|sicherheits|verifizierungs|freischalt|einmal)code|"
    r"code de (?:v[ée]rification|s[ée]curit[ée]|confirmation)|codice (?:di )?(?:verifica|sicurezza|accesso|conferma)|"
    r"kod (?:weryfikacyjny|sms|bezpiecze[ńn]stwa)|"
    r"(?:do[ğg]rulama|onay|g[üu]venlik) kodu?|kode (?:otp|verifikasi|keamanan)|m[ãa] (?:otp|x[áa]c (?:minh|nh[ậa]n)))"
    r"|код (?:подтверждения|из смс|безопасности|авторизации)|رمز (?:التحقق|التأكيد|الامان|الأمان)|كود التحقق"
    r"|验证码|驗證碼|校验码|ओटीपी)"
)
_DIGIT_CODE: Final = r"(?<![\d•-])(?<!•[ .-])(?:[A-Z]{1,2}-)?(?:\d{3}[ -]\d{3}|\d{3,10})(?![\d•]|-\d)"
_IS: Final = r"(?:is|are|es|é|è|e|ist|est|это|to|adalah|la|là|hai|هو|是|为|為)"
CODE: Final = re.compile(
    rf"(?P<name>{_CODE_NAME})(?:[^\w•\n]{{0,4}}|[^\d•\n.!?]{{0,24}}?(?:{_IS}|:)[^\w•\n]{{0,3}})(?P<secret>{_DIGIT_CODE})",
    re.IGNORECASE,
)
CODE_BEFORE: Final = re.compile(
    rf"(?P<secret>{_DIGIT_CODE})(?=(?:\s{{1,2}}{_IS}\s|\s?[是为])[^\d\n•.!?]{{0,32}}?{_CODE_NAME})", re.IGNORECASE
)
GUARD_CODE: Final = re.compile(r"\bguard code\W{1,3}(?P<secret>(?=[A-Z]{0,4}\d)[A-Z0-9]{5})\b", re.IGNORECASE)
"""Of five letters and digits, as Steam has them."""
OF_A_CARD: Final = re.compile(r"cv[vc]|se[cg]ur|sicher|sicurezza|bezpiecz|g[üu]venlik|keamanan|безоп", re.IGNORECASE)
"""Names of codes that may have three digits."""

HINTS: Final = {
    SecretKind.PASSWORD: (
        "pass", "pw", "psw", "mdp", "clave", "contrase", "senha", "kennwort", "parola", "hasł", "hasl", "şifre",
        "sifre", "sandi", "mật khẩu", "mat khau", "mk", "парол", "كلم", "باسورد", "密码", "密碼", "口令", "पासवर्ड",
    ),
    SecretKind.TOKEN: (
        "eyj", "_live_", "_test_", "whsec_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat", "glpat", "xox",
        "xapp-", "akia", "asia", "aiza", "ya29.", "gocspx", "sk-", "npm_", "pypi-", "sg.", "shpat_", "shpca_", "shppa_",
        "shpss_", "hf_", "dop_v1", "dck_", ":aa", "api/webhooks", "hooks.slack", "private key", "seed", "recovery",
        "mnemonic", "backup", "secret", "token", "bot",
    ),
    SecretKind.CODE: (
        "otp", "2fa", "tan ", "tan:", "code", " pin", "cvv", "cvc", "digo", "codice", "kod", "код", "رمز", "كود", "mã",
        "ma otp", "ma x", "one-time", "one time", "验证码", "驗證碼", "校验码", "ओटीपी",
    ),
}  # fmt: skip
"""By kind, what a text holds one of when there is anything to look for. In lower case."""
