"""Ten kinds of request to a customer service agent.

Takes nothing, gives ``CASES``. ``{name}``, ``{order}`` and ``{amount}`` are filled in by the generator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class ServiceCase:
    """``steps`` are (thought, tool, arguments as JSON, result); ``refused`` marks cases whose last tool says no."""

    topic: str
    policy: str
    openings: tuple[str, ...]
    steps: tuple[tuple[str, str, str, str], ...]
    closings: tuple[str, ...]
    refused: bool = False


CASES: Final = (
    ServiceCase(
        "kettle",
        "Damaged kitchenware is replaced or refunded within 60 days against a photo. Do not offer vouchers.",
        (
            "The kettle I got on Monday leaks at the base. Order {order}. I would rather have my money back, {name}.",
            "hi, {order}: kettle arrived with a cracked lid, photo attached. refund please. {name}",
        ),
        (
            (
                "Find the order before promising anything.",
                "get_order",
                '{"order":"{order}"}',
                "kettle 1.7 l, paid {amount}, 4 days ago",
            ),
            (
                "Within sixty days and there is a photo, so a refund is allowed.",
                "refund",
                '{"order":"{order}","amount":"{amount}"}',
                "refund of {amount} booked",
            ),
        ),
        (
            "Sorry about the kettle, {name}. {amount} is on its way back to your card.",
            "Refunded {amount}; keep or recycle the kettle.",
        ),
    ),
    ServiceCase(
        "flight",
        "Dates of economy tickets may be changed once, fee 40, not within 24 hours of departure.",
        (
            "I need to fly back from Lisbon two days later, booking {order}. Passenger {name}.",
            "Can you move my return flight to Sunday? My reference is {order}, name {name}. My mother is ill.",
        ),
        (
            (
                "Check the fare class and whether a change was used already.",
                "get_booking",
                '{"reference":"{order}"}',
                "economy, LIS to OSL, no changes used, departs in 6 days",
            ),
            (
                "Free seats on Sunday?",
                "list_flights",
                '{"from":"LIS","to":"OSL","day":"Sunday"}',
                "07:10 (3 seats), 16:45 (11 seats)",
            ),
        ),
        (
            "There are seats at 07:10 and 16:45 on Sunday; the change costs 40. Which one, {name}?",
            "I can move you to Sunday for a fee of 40. Morning or afternoon?",
        ),
    ),
    ServiceCase(
        "parcel",
        "Parcels count as lost ten days after the last scan. Before that, open a trace with the carrier.",
        (
            "My parcel {order} has been stuck at the depot in Leeds since forever. {name} here.",
            "Where is {order}? It was a birthday present and the birthday was yesterday! {name}",
        ),
        (
            (
                "Tracking first.",
                "track_parcel",
                '{"parcel":"{order}"}',
                "last scan 5 days ago, Leeds depot, label damaged",
            ),
            (
                "Five days are less than ten, so it cannot be declared lost yet; a trace it is.",
                "open_trace",
                '{"parcel":"{order}"}',
                "trace opened, answer in 2 working days",
            ),
        ),
        (
            "I have asked the carrier to look for it; we hear back within two working days.",
            "A trace is open, {name}. If it stays missing past day ten we send it again.",
        ),
    ),
    ServiceCase(
        "double-charge",
        "Duplicate card charges are reversed when both carry the same invoice. Never reveal full card numbers.",
        (
            "You took {amount} twice this month!! Account {order}. {name}",
            "Two identical lines on my statement, {amount} each, from your company. Customer {order}, {name}.",
        ),
        (
            (
                "Look at the charges.",
                "list_charges",
                '{"account":"{order}"}',
                "INV-88 {amount} 3rd; INV-88 {amount} 3rd; INV-71 {amount} last month",
            ),
            (
                "Same invoice twice, that is the duplicate; the older one is last month's.",
                "reverse_charge",
                '{"account":"{order}","invoice":"INV-88"}',
                "one charge reversed",
            ),
        ),
        (
            "You were right, {name}: one of the two charges is reversed.",
            "The second {amount} goes back within five days; sorry for that.",
        ),
    ),
    ServiceCase(
        "gym",
        "Memberships end at the close of the paid period. Retention offers only if the member asks for one.",
        (
            "I moved to Porto and want to cancel my gym membership {order}. {name}",
            "please stop my subscription, number {order}, the pool has been closed for months. {name}",
        ),
        (
            (
                "See until when it is paid.",
                "get_membership",
                '{"id":"{order}"}',
                "monthly, paid until the 30th, pool closed for renovation",
            ),
            (
                "They did not ask for an offer, so I simply cancel.",
                "cancel_membership",
                '{"id":"{order}"}',
                "ends on the 30th",
            ),
        ),
        (
            "Your membership ends on the 30th, nothing more will be charged.",
            "Cancelled, {name}. All the best in your new town.",
        ),
    ),
    ServiceCase(
        "lockout",
        "Unlock accounts only after two security answers. Never tell which answer was wrong.",
        (
            "I am locked out after a new phone, user {order}. First school: Elm Road. Pet: Biscuit. {name}",
            "My authenticator is gone with my old handset. User {order}; {name}; pet Biscuit, school Elm Road.",
        ),
        (
            (
                "Two answers were given, verify them.",
                "verify_answers",
                '{"user":"{order}","answers":["Elm Road","Biscuit"]}',
                "both match",
            ),
            ("Fine, reset the second factor.", "reset_second_factor", '{"user":"{order}"}', "enrolment link sent"),
        ),
        (
            "A link to enrol the new phone is in your mailbox.",
            "Done. Scan the code with the new phone within an hour, {name}.",
        ),
    ),
    ServiceCase(
        "laptop",
        "Liquid damage is excluded from warranty. Technicians' findings are final; a paid repair may be offered.",
        (
            "My laptop {order} died after eleven months, surely that is warranty. {name}",
            "Screen black, fan spinning, bought last year. Serial {order}. I want it repaired for free. {name}",
        ),
        (
            (
                "What did the workshop find?",
                "get_inspection",
                '{"serial":"{order}"}',
                "corrosion under keyboard, liquid damage",
            ),
            (
                "Excluded, but let me see whether the claim can be filed anyway.",
                "file_claim",
                '{"serial":"{order}"}',
                "rejected: liquid damage",
            ),
        ),
        (
            "The workshop found liquid damage, which the warranty excludes. A paid repair is {amount}.",
            "I am sorry, {name}, the claim was rejected. We can repair it for {amount}.",
        ),
        refused=True,
    ),
    ServiceCase(
        "hotel",
        "Non-refundable rooms may be moved to another date once if the hotel agrees.",
        (
            "Our train was cancelled; can room {order} be moved from Friday to the week after? {name}",
            "We booked {order} for the jazz weekend, which is postponed. Please shift it. {name}",
        ),
        (
            (
                "Is it the non-refundable rate?",
                "get_reservation",
                '{"id":"{order}"}',
                "double, non-refundable, 2 nights",
            ),
            ("Then the hotel has to agree.", "ask_hotel", '{"id":"{order}","shift_days":7}', "declined: fully booked"),
        ),
        (
            "The hotel is full that week and declined the move. Shall I try another one, {name}?",
            "They cannot move it, sorry. I can look for neighbouring dates.",
        ),
        refused=True,
    ),
    ServiceCase(
        "gift-card",
        "Gift card balances may be told to whoever has number and PIN. Expired cards are extended by three months.",
        (
            "How much is left on gift card {order}, PIN 4411? It says expired at the till. {name}",
            "The bookshop refused my card {order} (pin 4411). It was from my aunt. {name}",
        ),
        (
            (
                "Balance and expiry.",
                "get_card",
                '{"card":"{order}","pin":"4411"}',
                "{amount} left, expired 12 days ago",
            ),
            ("Policy allows an extension.", "extend_card", '{"card":"{order}","months":3}', "valid for 3 more months"),
        ),
        ("{amount} is left, and the card works again for three months.", "Extended, {name}. Enjoy the books."),
    ),
    ServiceCase(
        "internet",
        "Check for outages before booking a technician. Credit one day per day of outage on request.",
        (
            "No internet since this morning in Mill Lane, line {order}. I work from home! {name}",
            "router blinks red, line number {order}, already restarted it twice. {name}",
        ),
        (
            (
                "Outage or router?",
                "check_outage",
                '{"line":"{order}"}',
                "fibre cut near Mill Lane, repair expected 18:00",
            ),
            ("No technician needed. Credit the day.", "add_credit", '{"line":"{order}","days":1}', "1 day credited"),
        ),
        (
            "A digger cut the fibre; it should be back at 18:00 and the day is credited.",
            "It is not your router, {name}. Repair by evening, one day credited.",
        ),
    ),
)
